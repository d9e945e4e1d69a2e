"""Rows that a killed dbt may have appended are there once, or are not published: real dbt."""

import logging
from pathlib import Path

import pytest

from attempting import Pod, Stopped, Watcher, kill_dbt, project, relations, run
from dbtpod.dbt.events import Event, NodeFinished
from dbtpod.dbt.project import Project
from dbtpod.errors import BuildIncomplete, DbtFailed
from dbtpod.warehouse.volume import Volume

APPENDS = {
    "models/a_log.sql": "{{ config(materialized='incremental') }} select 1 as id",
    "models/b_last.sql": "select count(*) as rows from {{ ref('a_log') }}",
}


def killed_between_commit_and_word(shop: Project, *before: str) -> None:
    """Kill dbt when the model's rows are committed, and lose its word on that, as a kill at that moment does."""

    def act(event: Event) -> None:
        if isinstance(event, NodeFinished) and event.name == "a_log":
            kill_dbt()
            raise Stopped

    pod = Pod(shop, "second")
    for command in before:
        pod.command(command)
    with pytest.raises(Stopped):
        pod.command("build", watcher=Watcher(act))
    [events] = Volume(shop.writes).runs.glob("second/*-build/attempt-1/events.jsonl")
    events.write_text("".join(line for line in events.open() if '"NodeFinished"' not in line))


AUDIT = "create table if not exists audit (n int)"

OWN = """
{% materialization adding, default %}
  {% set relation = this.incorporate(type='table') %}
  {% call statement('main') %}
    create table if not exists {{ relation }} (id int);
    insert into {{ relation }} {{ sql }};
  {% endcall %}
  {{ adapter.commit() }}
  {{ return({'relations': [relation]}) }}
{% endmaterialization %}
"""


@pytest.mark.parametrize(
    ("config", "appended"),
    [
        ("materialized='incremental'", "a_log"),
        pytest.param(
            "materialized='incremental', incremental_strategy='delete+insert'", "a_log", marks=pytest.mark.soak
        ),
        pytest.param(f"pre_hook='{AUDIT}', post_hook='insert into audit values (1)'", "audit", marks=pytest.mark.soak),
        pytest.param("materialized='adding'", "a_log", marks=pytest.mark.soak),
    ],
)
def test_rows_that_were_perhaps_appended_before_a_kill_are_there_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, config: str, appended: str
) -> None:
    model = {"models/a_log.sql": f"{{{{ config({config}) }}}} select 1 as id", "macros/own.sql": OWN}
    shop = project(tmp_path, APPENDS | model)
    run(shop, ["build"])
    killed_between_commit_and_word(shop)

    with caplog.at_level(logging.INFO):
        second = Pod(shop, "second")
        second.command("build")

    assert "it was stopped in model.shop.a_log, whose rows may be there already" in caplog.text
    assert second.publish()
    assert relations(shop.reads)[appended] == [(1,), (1,)]


def test_rows_that_were_perhaps_appended_by_a_second_command_are_not_published(tmp_path: Path) -> None:
    shop = project(tmp_path, APPENDS | {"seeds/s.csv": "id\n1\n"})
    run(shop, ["build"])
    killed_between_commit_and_word(shop, "seed")
    second = Pod(shop, "second")
    second.command("seed")

    with pytest.raises(BuildIncomplete, match=r"stopped in model\.shop\.a_log, whose rows may be there already"):
        second.command("build")


def test_rows_that_were_committed_before_a_hook_failed_are_there_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = tmp_path / "fixed"
    hook = f"select case when (select count(*) from glob(''{gate}'')) = 0 then error(''not fixed'') end"
    config = f"materialized='incremental', post_hook={{'sql': '{hook}', 'transaction': False}}".replace("''", "\\'")
    shop = project(tmp_path, APPENDS | {"models/a_log.sql": f"{{{{ config({config}) }}}} select 1 as id"})
    gate.touch()
    run(shop, ["build"])
    gate.unlink()
    with pytest.raises(DbtFailed, match="not fixed"):
        Pod(shop, "second").command("build")
    gate.touch()

    with caplog.at_level(logging.INFO):
        pod = Pod(shop, "second")
        pod.command("build")

    assert "it was stopped in model.shop.a_log, whose rows may be there already" in caplog.text
    assert pod.publish()
    assert relations(shop.reads)["a_log"] == [(1,), (1,)]
