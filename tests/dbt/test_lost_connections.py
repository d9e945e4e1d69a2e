"""A command that lost its connection is tried again, with all its flags: real dbt."""

import logging
from pathlib import Path

import duckdb
import pytest

import shop
from attempting import Pod, Watcher, project, relations
from dbtpod.dbt.events import Event, NodeFinished
from dbtpod.errors import ConnectionLost, DbtFailed

ONCE = """
import pathlib
def model(dbt, session):
    {refs}
    flag = pathlib.Path(r"{flag}")
    if not flag.exists():
        flag.touch()
        raise ConnectionError("Connection refused")
    return session.sql("select 1 as id")
"""

UNIT_TEST = """
unit_tests:
  - {name: doubles, model: b, given: [{input: ref('a'), rows: [{id: 2}]}], expect: {rows: [{id: 3}]}}
"""


@pytest.mark.parametrize("flags", [(), ("--fail-fast",)])
def test_unit_tests_that_an_attempt_did_not_reach_are_run(tmp_path: Path, flags: tuple[str, ...]) -> None:
    shop = project(
        tmp_path,
        {
            "models/a.sql": "select * from {{ ref('lost') }}",
            "models/b.sql": "select id * 2 as id from {{ ref('a') }}",
            "models/u.yml": UNIT_TEST,
            "models/lost.py": ONCE.format(refs="pass", flag=tmp_path / "lost"),
        },
    )

    with pytest.raises(DbtFailed, match="doubles"):
        Pod(shop).command("build", *flags, retries=1)


def test_a_warning_that_is_an_error_is_one_after_a_lost_connection_too(tmp_path: Path) -> None:
    shop = project(
        tmp_path,
        {
            "models/a.sql": "select 1 as id",
            "models/b.py": ONCE.format(refs="dbt.ref('a')", flag=tmp_path / "lost"),
            "tests/soft.sql": "{{ config(severity='warn') }} select * from {{ ref('b') }}",
        },
    )

    with pytest.raises(DbtFailed, match="soft"):
        Pod(shop).command("build", "--warn-error", retries=1)


@pytest.mark.soak
def test_without_that_flag_the_same_run_completes(tmp_path: Path) -> None:
    shop = project(
        tmp_path,
        {
            "models/a.sql": "select 1 as id",
            "models/b.py": ONCE.format(refs="dbt.ref('a')", flag=tmp_path / "lost"),
            "tests/soft.sql": "{{ config(severity='warn') }} select * from {{ ref('b') }}",
        },
    )
    pod = Pod(shop)

    pod.command("build", retries=1)

    assert pod.publish()
    assert set(relations(shop.reads)) == {"a", "b"}


HOOKS = (
    shop.PROJECT
    + """
on-run-end:
  - "attach '{{ env_var('OTHER') }}' as other"
  - "create or replace table other.main.said as select 1 as n"
  - "detach other"
"""
)


def test_a_hook_that_lost_its_connection_is_run_again_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.duckdb"
    monkeypatch.setenv("OTHER", str(other))
    shop = project(tmp_path, {"models/a.sql": "select 1 as id", "dbt_project.yml": HOOKS})
    pod = Pod(shop)
    with duckdb.connect(other), pytest.raises(ConnectionLost):
        pod.command("build")

    pod.command("build")

    assert pod.publish()
    assert relations(other) == {"said": [(1,)]}


def test_what_a_model_appended_is_not_there_twice_when_the_whole_command_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.duckdb"
    monkeypatch.setenv("OTHER", str(other))
    shop = project(
        tmp_path,
        {"models/log.sql": "{{ config(materialized='incremental') }} select 1 as id", "dbt_project.yml": HOOKS},
    )
    first = Pod(shop, "first")
    first.command("build")
    assert first.publish()
    holder = duckdb.connect(other)
    second = Pod(shop, "second")

    def act(event: Event) -> None:
        if isinstance(event, NodeFinished) and event.kind == "operation":
            holder.close()

    second.command("build", watcher=Watcher(act), retries=1)

    assert second.publish()
    assert relations(shop.reads) == {"log": [(1,), (1,)]}


def test_a_batch_that_lost_its_connection_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = tmp_path / "other.duckdb"
    attach = f"attach if not exists '{other}' as other (read_only)"
    batches = """
{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='day', batch_size='day',
          begin='2026-01-01', concurrent_batches=false) }}
{% if model.batch and model.batch.event_time_start.day == 2 %}{% do run_query("ATTACH") %}{% endif %}
select * from {{ ref('events') }}
"""
    events = "select timestamp '2026-01-01' + interval (n) day as day from range(3) t(n)"
    shop = project(
        tmp_path,
        {
            "models/events.sql": "{{ config(event_time='day') }} " + events,
            "models/daily.sql": batches.replace("ATTACH", attach),
        },
    )
    args = ("build", "--event-time-start", "2026-01-01", "--event-time-end", "2026-01-04")
    pod = Pod(shop)
    with duckdb.connect(other), pytest.raises(ConnectionLost, match="Could not set lock"):
        pod.command(*args)

    with caplog.at_level(logging.INFO):
        pod.command(*args)

    assert "1 nodes are left" in caplog.text
    assert pod.publish()
    assert len(relations(shop.reads)["daily"]) == 3


def test_an_operation_that_fails_has_dbts_reason(tmp_path: Path) -> None:
    boom = "{% macro boom() %}{% do run_query('select * from not_there_at_all') %}{% endmacro %}"
    shop = project(tmp_path, {"macros/m.sql": boom})
    pod = Pod(shop)

    with pytest.raises(DbtFailed, match="Table with name not_there_at_all does not exist"):
        pod.command("run-operation", "boom")

    assert "not_there_at_all" in pod.reports[-1].nodes[0].message


def test_an_operation_that_lost_its_connection_is_tried_again(tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    boom = f"{{% macro boom() %}}{{% do run_query(\"attach '{other}' as other\") %}}{{% endmacro %}}"
    shop = project(tmp_path, {"macros/m.sql": boom})
    pod = Pod(shop)
    with duckdb.connect(other), pytest.raises(ConnectionLost, match="Could not set lock"):
        pod.command("run-operation", "boom")

    pod.command("run-operation", "boom")

    assert pod.publish()
