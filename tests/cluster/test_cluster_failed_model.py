"""A model that fails: the run says which and why, is not tried again, and readers keep what they had."""

from typing import Any

import pytest

from images import case
from release import BUILD, Release

pytestmark = pytest.mark.cluster

ORDERS = "select count(*), sum(net_amount) from fct_orders"
Run = dict[str, Any]
Rows = list[list[Any]]


@pytest.fixture(scope="module")
def before(warehouse: Release) -> tuple[str, Rows]:
    return warehouse.generation(), warehouse.rows(ORDERS)


@pytest.fixture(scope="module")
def failed(warehouse: Release, before: tuple[str, Rows]) -> Run:
    return warehouse.prefect.run(BUILD, **case("fails"))


def test_a_failing_model_gives_a_failed_run_that_names_it_and_is_not_tried_again(
    warehouse: Release, failed: Run
) -> None:
    assert failed["state"]["name"] == "Failed"
    assert "broken" in failed["state"]["message"]
    assert "no_such_table" in failed["state"]["message"]
    assert failed["run_count"] == 1
    assert len(warehouse.pods_of(failed["id"])) == 1
    assert warehouse.pod_log(failed["id"]).count("Running with dbt") == 1


def test_a_failing_model_stands_in_the_log_as_an_error(warehouse: Release, failed: Run) -> None:
    warehouse.prefect.logged(failed["id"], "no_such_table")

    levels = {level for level, message in warehouse.prefect.log(failed["id"]) if "no_such_table" in message}

    assert 40 in levels


def test_a_failing_model_is_a_failed_row_and_all_others_are_as_dbt_counts_them(warehouse: Release, failed: Run) -> None:
    counts = warehouse.totals(failed["id"])
    rows = warehouse.prefect.ended_nodes(failed["id"], counts["TOTAL"])

    states = [row["state"]["name"] for row in rows]

    assert [row["name"] for row in rows if row["state"]["name"] == "Failed"] == ["model broken"]
    assert (states.count("Completed"), states.count("Skipped")) == (counts["PASS"], counts["SKIP"])


def test_a_failing_model_publishes_nothing(warehouse: Release, failed: Run, before: tuple[str, Rows]) -> None:
    assert (warehouse.generation(), warehouse.rows(ORDERS)) == before
