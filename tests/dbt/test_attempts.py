"""A resumed command does all that the first was to do, with its flags; what cannot be known is run again: real dbt."""

import logging
import re
import shutil
from pathlib import Path

import duckdb
import pytest

from attempting import PROJECT, Pod, Stopped, Watcher, kill_dbt, project, relations, run
from dbtpod.dbt.events import Event, NodeFinished, NodeStarted
from dbtpod.errors import BuildIncomplete, ConnectionLost, DbtFailed
from dbtpod.settings import Settings

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

# More than a second: a node with it does not end between its start and the stop.
LONG = "(select sum(range) from range(500_000_000)) > 0"


def stop_at(node: str, kind: type[Event] = NodeStarted) -> Watcher:  # type: ignore[valid-type]
    def act(event: Event) -> None:
        if isinstance(event, kind) and event.node_id.split(".")[2] == node:
            raise Stopped

    return Watcher(act)


def stopped_then_resumed(settings: Settings, *args: str, at: str = "b_slow") -> Pod:
    with pytest.raises(Stopped):
        Pod(settings).command(*args, watcher=stop_at(at))
    pod = Pod(settings, starts=2)
    pod.command(*args)
    return pod


def month_end(tmp_path: Path, condition: str) -> Settings:
    return project(
        tmp_path,
        {
            "models/a_first.sql": "select 1 as id",
            "models/b_slow.sql": f"select id from {{{{ ref('a_first') }}}} where {LONG}",
            "models/c_last.sql": f"{{{{ config(enabled={condition}) }}}} select * from {{{{ ref('b_slow') }}}}",
            "tests/last.sql": f"{{{{ config(enabled={condition}) }}}} select * from {{{{ ref('c_last') }}}}",
        },
    )


@pytest.mark.parametrize(
    ("condition", "args"),
    [
        ("var('month_end', false)", ("build", "--vars", "month_end: true")),
        ("var('month_end', false)", ("build", "--vars={month_end: true}")),
        ("(target.name == 'prod')", ("build", "--target", "prod")),
        ("(target.name == 'prod')", ("build", "-tprod")),
    ],
)
def test_a_resumed_run_has_what_a_variable_or_a_target_enables(
    tmp_path: Path, condition: str, args: tuple[str, ...]
) -> None:
    settings = month_end(tmp_path, condition)

    with pytest.raises(DbtFailed, match=r"test\.shop\.last"):
        stopped_then_resumed(settings, *args)

    assert set(relations(settings.duckdb_path)) == {"a_first", "b_slow", "c_last"}


def test_only_what_was_not_finished_is_run_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = month_end(tmp_path, "true")
    (settings.project_dir / "tests" / "last.sql").unlink()

    with caplog.at_level(logging.INFO):
        pod = stopped_then_resumed(settings, "build", "--exclude", "c_last")

    assert "1 nodes are left" in caplog.text
    assert "a_first" not in {node.name for node in pod.reports[-1].nodes}
    assert pod.publish()
    assert set(relations(settings.readable_path)) == {"a_first", "b_slow"}


def test_what_had_ended_when_the_pod_was_killed_is_not_run_again(tmp_path: Path) -> None:
    settings = month_end(tmp_path, "true")
    (settings.project_dir / "tests" / "last.sql").unlink()

    def act(event: Event) -> None:
        if isinstance(event, NodeStarted) and event.name == "b_slow":
            kill_dbt()
            raise Stopped

    with pytest.raises(Stopped):
        Pod(settings).command("build", watcher=Watcher(act))
    [attempt] = settings.runs_dir.glob("*/1-build/attempt-1")
    assert not (attempt / "run_results.json").exists()

    pod = Pod(settings, starts=2)
    pod.command("build")

    assert [node.name for node in pod.reports[-1].nodes] == ["b_slow", "c_last"]
    assert pod.publish()


UNIT_TEST = """
unit_tests:
  - {name: doubles, model: b, given: [{input: ref('a'), rows: [{id: 2}]}], expect: {rows: [{id: 3}]}}
"""


@pytest.mark.parametrize("flags", [(), ("--fail-fast",)])
def test_unit_tests_that_an_attempt_did_not_reach_are_run(tmp_path: Path, flags: tuple[str, ...]) -> None:
    settings = project(
        tmp_path,
        {
            "models/a.sql": "select * from {{ ref('lost') }}",
            "models/b.sql": "select id * 2 as id from {{ ref('a') }}",
            "models/u.yml": UNIT_TEST,
            "models/lost.py": ONCE.format(refs="pass", flag=tmp_path / "lost"),
        },
    )

    with pytest.raises(DbtFailed, match="doubles"):
        Pod(settings).command("build", *flags, retries=1)


def test_a_warning_that_is_an_error_is_one_after_a_lost_connection_too(tmp_path: Path) -> None:
    settings = project(
        tmp_path,
        {
            "models/a.sql": "select 1 as id",
            "models/b.py": ONCE.format(refs="dbt.ref('a')", flag=tmp_path / "lost"),
            "tests/soft.sql": "{{ config(severity='warn') }} select * from {{ ref('b') }}",
        },
    )

    with pytest.raises(DbtFailed, match="soft"):
        Pod(settings).command("build", "--warn-error", retries=1)


def test_without_that_flag_the_same_run_completes(tmp_path: Path) -> None:
    settings = project(
        tmp_path,
        {
            "models/a.sql": "select 1 as id",
            "models/b.py": ONCE.format(refs="dbt.ref('a')", flag=tmp_path / "lost"),
            "tests/soft.sql": "{{ config(severity='warn') }} select * from {{ ref('b') }}",
        },
    )
    pod = Pod(settings)

    pod.command("build", retries=1)

    assert pod.publish()
    assert set(relations(settings.readable_path)) == {"a", "b"}


HOOKS = (
    PROJECT
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
    settings = project(tmp_path, {"models/a.sql": "select 1 as id"}, project_yml=HOOKS)
    pod = Pod(settings)
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
    settings = project(
        tmp_path,
        {"models/log.sql": "{{ config(materialized='incremental') }} select 1 as id"},
        project_yml=HOOKS,
    )
    first = Pod(settings, "first")
    first.command("build")
    assert first.publish()
    holder = duckdb.connect(other)
    second = Pod(settings, "second")

    def act(event: Event) -> None:
        if isinstance(event, NodeFinished) and event.kind == "operation":
            holder.close()

    second.command("build", watcher=Watcher(act), retries=1)

    assert second.publish()
    assert relations(settings.readable_path) == {"log": [(1,), (1,)]}


APPENDS = {
    "models/a_log.sql": "{{ config(materialized='incremental') }} select 1 as id",
    "models/b_last.sql": "select count(*) as rows from {{ ref('a_log') }}",
}


def killed_between_commit_and_word(settings: Settings, *before: str) -> None:
    """Kill dbt when the model's rows are committed, and lose its word on that, as a kill at that moment does."""

    def act(event: Event) -> None:
        if isinstance(event, NodeFinished) and event.name == "a_log":
            kill_dbt()
            raise Stopped

    pod = Pod(settings, "second")
    for command in before:
        pod.command(command)
    with pytest.raises(Stopped):
        pod.command("build", watcher=Watcher(act))
    [events] = settings.runs_dir.glob("second/*-build/attempt-1/events.jsonl")
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
        ("materialized='incremental', incremental_strategy='delete+insert'", "a_log"),
        (f"pre_hook='{AUDIT}', post_hook='insert into audit values (1)'", "audit"),
        ("materialized='adding'", "a_log"),
    ],
)
def test_rows_that_were_perhaps_appended_before_a_kill_are_there_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, config: str, appended: str
) -> None:
    model = {"models/a_log.sql": f"{{{{ config({config}) }}}} select 1 as id", "macros/own.sql": OWN}
    settings = project(tmp_path, APPENDS | model)
    run(settings, ["build"])
    killed_between_commit_and_word(settings)

    with caplog.at_level(logging.INFO):
        second = Pod(settings, "second", starts=2)
        second.command("build")

    assert "it was stopped in model.shop.a_log, whose rows may be there already" in caplog.text
    assert second.publish()
    assert relations(settings.readable_path)[appended] == [(1,), (1,)]


def test_rows_that_were_perhaps_appended_by_a_second_command_are_not_published(tmp_path: Path) -> None:
    settings = project(tmp_path, APPENDS | {"seeds/s.csv": "id\n1\n"})
    run(settings, ["build"])
    killed_between_commit_and_word(settings, "seed")
    second = Pod(settings, "second", starts=2)
    second.command("seed")

    with pytest.raises(BuildIncomplete, match=r"stopped in model\.shop\.a_log, whose rows may be there already"):
        second.command("build")


def test_an_attempt_that_left_nothing_is_never_read_as_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = month_end(tmp_path, "true")
    (settings.project_dir / "tests" / "last.sql").unlink()
    with pytest.raises(Stopped):
        Pod(settings).command("build", watcher=stop_at("b_slow"))
    [attempt] = settings.runs_dir.glob("*/1-build/attempt-1")
    (attempt / "run_results.json").write_text('{"results": []}')
    (attempt / "manifest.json").write_text("{ half a fi")

    with caplog.at_level(logging.INFO):
        pod = Pod(settings, starts=2)
        pod.command("build")

    assert re.search("Running the whole command again: its manifest.json cannot be read", caplog.text)
    assert pod.publish()
    assert set(relations(settings.readable_path)) == {"a_first", "b_slow", "c_last"}


def test_success_without_the_results_that_say_so_is_not_complete(tmp_path: Path) -> None:
    settings = month_end(tmp_path, "true")
    (settings.project_dir / "tests" / "last.sql").unlink()
    pod = Pod(settings)
    pod.command("build")
    [attempt] = settings.runs_dir.glob("*/1-build/attempt-1")
    events = (attempt / "events.jsonl").read_text().splitlines()
    (attempt / "events.jsonl").write_text("\n".join(line for line in events if "c_last" not in line))
    (attempt / "run_results.json").unlink()
    (attempt / "plan.json").unlink()

    pod = Pod(settings, starts=2)
    with pytest.raises(BuildIncomplete, match=r"model\.shop\.c_last"):
        pod.command("build")


def test_a_resumed_command_still_defers(tmp_path: Path) -> None:
    settings = month_end(tmp_path, "false")
    profile = settings.project_dir / "profiles.yml"
    profile.write_text(profile.read_text().replace("prod: *dev", "prod: {<<: *dev, schema: prod}"))
    run(settings, ["build", "--select", "a_first", "--target", "prod"])
    [manifest] = settings.runs_dir.glob("run/1-build/attempt-1/manifest.json")
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(manifest, state)
    args = ("build", "--select", "b_slow", "--defer", "--state", str(state))

    with pytest.raises(Stopped):
        Pod(settings, "second").command(*args, watcher=stop_at("b_slow"))
    second = Pod(settings, "second", starts=2)
    second.command(*args)

    assert second.publish()
    with duckdb.connect(settings.readable_path, read_only=True) as connection:
        found = connection.sql("select table_schema, table_name from information_schema.tables").fetchall()
    assert sorted(found) == [("main", "b_slow"), ("prod", "a_first")]


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
    settings = project(
        tmp_path,
        {
            "models/events.sql": "{{ config(event_time='day') }} " + events,
            "models/daily.sql": batches.replace("ATTACH", attach),
        },
    )
    args = ("build", "--event-time-start", "2026-01-01", "--event-time-end", "2026-01-04")
    pod = Pod(settings)
    with duckdb.connect(other), pytest.raises(ConnectionLost, match="Could not set lock"):
        pod.command(*args)

    with caplog.at_level(logging.INFO):
        pod.command(*args)

    assert "1 nodes are left" in caplog.text
    assert pod.publish()
    assert len(relations(settings.readable_path)["daily"]) == 3


def test_an_operation_that_fails_has_dbts_reason(tmp_path: Path) -> None:
    boom = "{% macro boom() %}{% do run_query('select * from not_there_at_all') %}{% endmacro %}"
    settings = project(tmp_path, {"macros/m.sql": boom})
    pod = Pod(settings)

    with pytest.raises(DbtFailed, match="Table with name not_there_at_all does not exist"):
        pod.command("run-operation", "boom")

    assert "not_there_at_all" in pod.reports[-1].nodes[0].message


def test_an_operation_that_lost_its_connection_is_tried_again(tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    boom = f"{{% macro boom() %}}{{% do run_query(\"attach '{other}' as other\") %}}{{% endmacro %}}"
    settings = project(tmp_path, {"macros/m.sql": boom})
    pod = Pod(settings)
    with duckdb.connect(other), pytest.raises(ConnectionLost, match="Could not set lock"):
        pod.command("run-operation", "boom")

    pod.command("run-operation", "boom")

    assert pod.publish()
