"""What becomes of a build that ended well: real dbt on a small project, a real Prefect API."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect import State, flow

import messages
from dbtpod import cli, ending, run_dbt
from dbtpod.errors import BuildIncomplete, DbtFailed, SettingsError, WarehouseUnusable
from dbtpod.run import Result, writing
from prefect_server import Server
from shop import ORDERS, write
from shop_flows import building, run
from waiting import until

pytestmark = pytest.mark.usefixtures("api")
PROJECT = ORDERS | {
    "models/orders.sql": "select range as id, 'open' as state from range(3)",
    "models/schema.yml": "models: [{name: orders, columns: [{name: id, data_tests: [unique, not_null]}]}]",
}


@pytest.fixture
def project(project: Path) -> Path:
    write(project, PROJECT)
    return project


@flow(name="shop-aside")
def ending_with(result: Result, *commands: str) -> State[Any]:
    return run_dbt(*(commands or ("build",)), result=result)


def query(path: Path, sql: str) -> Any:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.sql(sql).fetchall()


def report_of(api: Server, state: State[Any], part: str) -> str:
    """The run's report, once it has that part."""
    run_id = str(state.state_details.flow_run_id)

    def found() -> str:
        reports = [one["data"] for one in api.filter("artifacts", run_id) if one["key"] == "shop-aside-report"]
        assert len(reports) <= 1, "one report of a run"
        return next((text for text in reports if part in text), "")

    return until(found, what=f"a report with {part}")


def test_a_build_that_is_kept_aside_changes_nothing_that_readers_see_and_the_report_shows_what_differs(
    project: Path, published: Path, api: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    run(building)
    changed = "select range as id, if(range = 1, 'closed', 'open') as state from range(1, 5)"
    (project / "models" / "orders.sql").write_text(changed)

    with messages.kept(logging.INFO, "prefect.flow_runs") as said:
        state = run(ending_with, "keep aside")

    assert state.is_completed(), state.message
    assert str(state.message).startswith("4 nodes: 4 success; kept aside as preview-1. To compare: ")
    for command in ("dbtpod generations diff current preview-1", "dbtpod generations publish preview-1"):
        assert command in str(state.message)
        assert any(command in text for text in said if text.startswith("Kept aside as preview-1"))
    assert query(published, "select count(*), min(id) from orders") == [(3, 0)]
    preview = published.parents[2] / "previews" / "000001" / "warehouse.duckdb"
    assert query(preview, "select count(*), min(id) from orders") == [(4, 1)]
    assert list((published.parents[2] / "work").iterdir()) == []
    text = report_of(api, state, "Kept aside as preview-1")
    assert "| changed | main.orders | 3 | 4 | 2 | 1 | 1 |  |" in text
    assert "| changed | main.totals | 1 | 1 | 1 | 1 | - |  |" in text
    assert "Built from generation 1" in text
    assert text.startswith("**4 done: 4 success**")

    assert cli.main(["generations", "publish", "preview-1"]) == 0
    assert "Readers now see generation 2, which was preview-1" in capsys.readouterr().out
    assert query(published, "select count(*), min(id) from orders") == [(4, 1)]


def test_a_first_build_that_is_kept_aside_is_compared_with_nothing(project: Path, published: Path, api: Server) -> None:
    state = run(ending_with, "keep aside")

    assert not published.exists()
    assert "| added | main.orders | - | 3 | 3 | 0 | 0 |  |" in report_of(api, state, "Built from nothing")


def test_a_comparison_that_fails_is_a_warning_and_the_preview_is_there(
    project: Path, published: Path, api: Server, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    def fails(*_: object) -> None:
        raise WarehouseUnusable("Comparing the builds took longer than 60 s.")

    monkeypatch.setattr(ending.comparison, "changes", fails)

    state = run(ending_with, "keep aside")

    assert state.is_completed(), state.message
    assert "kept aside as preview-1" in str(state.message)
    assert [text for text in warnings if "preview-1 was kept aside. How it differs is not known: Comparing" in text]
    assert "took longer than 60 s" in report_of(api, state, "Kept aside as preview-1")


def test_of_a_build_that_is_discarded_nothing_is_kept(project: Path, published: Path) -> None:
    run(building)
    (project / "models" / "orders.sql").write_text("select 9 as id, 'open' as state")

    state = run(ending_with, "discard")

    assert state.is_completed()
    assert state.message == "4 nodes: 4 success; discarded, so nothing was published"
    assert query(published, "select count(*) from orders") == [(3,)]
    assert list((published.parents[2] / "work").iterdir()) == []
    assert not (published.parents[2] / "previews").exists()


@pytest.mark.parametrize("result", ["publish", "keep aside", "discard"])
def test_a_run_that_built_nothing_leaves_no_working_copy(project: Path, published: Path, result: Result) -> None:
    run(building)

    state = run(ending_with, result, "test")

    assert state.message == "2 nodes: 2 success; nothing was published"
    assert list((published.parents[2] / "work").iterdir()) == []
    assert not (published.parents[2] / "previews").exists()


@flow
def passing_over_a_failure() -> State[Any]:
    end = ending.Ending("discard")
    with writing(end=end) as dbt:
        with suppress(DbtFailed):
            dbt("build")
        dbt("build", "--select", "orders")
    return end.state(dbt.state)


def test_a_build_that_failed_keeps_its_working_copy_whatever_was_to_become_of_it(
    project: Path, published: Path
) -> None:
    (project / "models" / "totals.sql").write_text("select amout from {{ ref('orders') }}")

    state = run(passing_over_a_failure)

    assert isinstance(state.result(raise_on_failure=False), BuildIncomplete)
    assert {path.name for path in (published.parents[2] / "work").iterdir()} == {"owner.json", "warehouse.duckdb"}


@pytest.mark.parametrize("result", ["keep aside", "discard"])
def test_where_a_build_stays_in_place_it_is_refused_before_dbt_starts(
    project: Path, monkeypatch: pytest.MonkeyPatch, result: Result
) -> None:
    monkeypatch.setenv("DBTPOD_PUBLISH", "false")

    with messages.kept(logging.INFO, "prefect.task_runs") as of_commands:
        state = run(ending_with, result)

    assert isinstance(state.result(raise_on_failure=False), SettingsError)
    assert f'result="{result}" needs a working copy, and DBTPOD_PUBLISH is false' in str(state.message)
    assert of_commands == []


def test_commands_that_only_read_have_nothing_to_keep_aside(project: Path) -> None:
    run(building)

    refused = run(ending_with, "keep aside", "show --select totals", "ls")
    discarded = run(ending_with, "discard", "ls")

    assert isinstance(refused.result(raise_on_failure=False), SettingsError)
    assert "these commands only read" in str(refused.message)
    assert discarded.is_completed(), discarded.message


def test_another_result_is_answered_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match='must be one of "publish", "keep aside", "discard"'):
        run_dbt("build", result="keep_aside")  # type: ignore[arg-type]
