"""A resumed command does all that the first was to do, with its flags; what cannot be known is run again: real dbt."""

import logging
import re
import shutil
from pathlib import Path

import duckdb
import pytest

from attempting import LONG, Pod, Stopped, Watcher, kill_dbt, project, relations, run, stop_at
from dbtpod.dbt import effective_profile
from dbtpod.dbt.events import Event, NodeStarted
from dbtpod.dbt.project import Project
from dbtpod.errors import BuildIncomplete, DbtFailed
from dbtpod.warehouse.volume import Volume


def stopped_then_resumed(shop: Project, *args: str, at: str = "b_slow") -> Pod:
    with pytest.raises(Stopped):
        Pod(shop).command(*args, watcher=stop_at(at))
    pod = Pod(shop)
    pod.command(*args)
    return pod


def month_end(tmp_path: Path, condition: str) -> Project:
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
        pytest.param("var('month_end', false)", ("build", "--vars={month_end: true}"), marks=pytest.mark.soak),
        ("(target.name == 'prod')", ("build", "--target", "prod")),
        pytest.param("(target.name == 'prod')", ("build", "-tprod"), marks=pytest.mark.soak),
    ],
)
def test_a_resumed_run_has_what_a_variable_or_a_target_enables(
    tmp_path: Path, condition: str, args: tuple[str, ...]
) -> None:
    shop = month_end(tmp_path, condition)

    with pytest.raises(DbtFailed, match=r"test\.shop\.last"):
        stopped_then_resumed(shop, *args)

    assert set(relations(shop.writes)) == {"a_first", "b_slow", "c_last"}


def test_only_what_was_not_finished_is_run_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = month_end(tmp_path, "true")
    (shop.folder / "tests" / "last.sql").unlink()

    with caplog.at_level(logging.INFO):
        pod = stopped_then_resumed(shop, "build", "--exclude", "c_last")

    assert "1 nodes are left" in caplog.text
    assert "a_first" not in {node.name for node in pod.reports[-1].nodes}
    assert pod.publish()
    assert set(relations(shop.reads)) == {"a_first", "b_slow"}


def test_what_had_ended_when_the_pod_was_killed_is_not_run_again(tmp_path: Path) -> None:
    shop = month_end(tmp_path, "true")
    (shop.folder / "tests" / "last.sql").unlink()

    def act(event: Event) -> None:
        if isinstance(event, NodeStarted) and event.name == "b_slow":
            kill_dbt()
            raise Stopped

    with pytest.raises(Stopped):
        Pod(shop).command("build", watcher=Watcher(act))
    [attempt] = Volume(shop.writes).runs.glob("*/1-build/attempt-1")
    assert not (attempt / "run_results.json").exists()

    pod = Pod(shop)
    pod.command("build")

    assert [node.name for node in pod.reports[-1].nodes] == ["b_slow", "c_last"]
    assert pod.publish()


@pytest.mark.soak
def test_an_attempt_that_left_nothing_is_never_read_as_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop = month_end(tmp_path, "true")
    (shop.folder / "tests" / "last.sql").unlink()
    with pytest.raises(Stopped):
        Pod(shop).command("build", watcher=stop_at("b_slow"))
    [attempt] = Volume(shop.writes).runs.glob("*/1-build/attempt-1")
    (attempt / "run_results.json").write_text('{"results": []}')
    (attempt / "manifest.json").write_text("{ half a fi")

    with caplog.at_level(logging.INFO):
        pod = Pod(shop)
        pod.command("build")

    assert re.search("Running the whole command again: its manifest.json cannot be read", caplog.text)
    assert pod.publish()
    assert set(relations(shop.reads)) == {"a_first", "b_slow", "c_last"}


def test_success_without_the_results_that_say_so_is_not_complete(tmp_path: Path) -> None:
    shop = month_end(tmp_path, "true")
    (shop.folder / "tests" / "last.sql").unlink()
    pod = Pod(shop)
    pod.command("build")
    [attempt] = Volume(shop.writes).runs.glob("*/1-build/attempt-1")
    events = (attempt / "events.jsonl").read_text().splitlines()
    (attempt / "events.jsonl").write_text("\n".join(line for line in events if "c_last" not in line))
    (attempt / "run_results.json").unlink()
    (attempt / "plan.json").unlink()

    pod = Pod(shop)
    with pytest.raises(BuildIncomplete, match=r"model\.shop\.c_last"):
        pod.command("build")


def test_a_resumed_command_still_defers(tmp_path: Path) -> None:
    shop = month_end(tmp_path, "false")
    profile = shop.folder / "profiles.yml"
    profile.write_text(profile.read_text().replace("prod: *dev", "prod: {<<: *dev, schema: prod}"))
    effective_profile.write(shop.folder, {})
    run(shop, ["build", "--select", "a_first", "--target", "prod"])
    [manifest] = Volume(shop.writes).runs.glob("run/1-build/attempt-1/manifest.json")
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(manifest, state)
    args = ("build", "--select", "b_slow", "--defer", "--state", str(state))

    with pytest.raises(Stopped):
        Pod(shop, "second").command(*args, watcher=stop_at("b_slow"))
    second = Pod(shop, "second")
    second.command(*args)

    assert second.publish()
    with duckdb.connect(shop.reads, read_only=True) as connection:
        found = connection.sql("select table_schema, table_name from information_schema.tables").fetchall()
    assert sorted(found) == [("main", "b_slow"), ("prod", "a_first")]
