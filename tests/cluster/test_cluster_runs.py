"""The four flows as pods: what they build, and what a person sees of it."""

import csv
import re
from itertools import pairwise
from typing import Any

import pytest

from kube import REPO
from release import BUILD, FRESHNESS, FULL_REFRESH, SMOKE, Release
from waiting import until

pytestmark = pytest.mark.cluster

WRITERS = (SMOKE, BUILD, FULL_REFRESH)
Run = dict[str, Any]


@pytest.fixture(scope="session")
def runs(release: Release) -> dict[str, Run]:
    """All four to their end: the writers triggered together, so that they have to wait for each other."""
    started = {name: release.prefect.start(name) for name in WRITERS}
    ended = {name: release.prefect.ended(run) for name, run in started.items()}
    return ended | {FRESHNESS: release.prefect.run(FRESHNESS)}


def seed(name: str) -> list[dict[str, str]]:
    with (REPO / f"dbt_project/seeds/{name}.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("deployment", [*WRITERS, FRESHNESS])
def test_each_flow_ends_completed_as_a_pod_of_its_own(release: Release, runs: dict[str, Run], deployment: str) -> None:
    run = runs[deployment]

    assert run["state"]["name"] == "Completed", release.prefect.page(run["id"])
    # Prefect writes the end from inside the pod, whose own end comes a moment later.
    until(lambda: [pod["status"]["phase"] for pod in release.pods_of(run["id"])] == ["Succeeded"], 30, "one pod's end")


def test_no_two_writers_run_at_the_same_time(runs: dict[str, Run]) -> None:
    times = sorted((runs[name]["start_time"], runs[name]["end_time"]) for name in WRITERS)

    assert all(ended <= started for (_, ended), (started, _) in pairwise(times))


def test_another_pod_reads_the_rows_that_the_seeds_give(release: Release, runs: dict[str, Run]) -> None:
    cents = sum(int(payment["amount_cents"]) for payment in seed("raw_payments"))

    [[orders, net]] = release.rows("select count(*), sum(net_amount) from fct_orders")
    [[customers]] = release.rows("select count(*) from dim_customers")

    assert orders == len(seed("raw_orders"))
    assert round(net * 100) == cents
    assert customers == len(seed("raw_customers"))


def test_a_finished_pods_log_has_dbts_lines_without_colours(release: Release, runs: dict[str, Run]) -> None:
    log = release.pod_log(runs[BUILD]["id"])

    assert "dbt build" in log
    assert "DUCKDB_PATH=/data/work/warehouse.duckdb" in log
    assert re.search(r"\d+ of \d+ START sql incremental model main\.fct_orders", log)
    assert re.search(r"\d+ of \d+ OK created sql incremental model main\.fct_orders", log)
    assert "Completed successfully" in log
    assert "\x1b" not in log


@pytest.mark.parametrize("deployment", [BUILD, FRESHNESS])
def test_dbt_takes_the_parse_state_of_the_image(release: Release, runs: dict[str, Run], deployment: str) -> None:
    log = release.pod_log(runs[deployment]["id"])

    assert "Found " in log
    assert "Unable to do partial parsing" not in log


def test_the_runs_page_has_dbts_lines_too(release: Release, runs: dict[str, Run]) -> None:
    release.prefect.logged(runs[BUILD]["id"], "Done. PASS=")
    log = release.prefect.log(runs[BUILD]["id"])

    assert any("OK created sql incremental model main.fct_orders" in message for _, message in log)
    assert {level for level, message in log if "Done. PASS=" in message} == {20}


def test_each_node_is_a_row_of_the_runs_page(release: Release, runs: dict[str, Run]) -> None:
    run = runs[BUILD]["id"]
    counts = release.totals(run)

    states = [row["state"]["name"] for row in release.prefect.ended_nodes(run, counts["TOTAL"])]

    assert len(states) > 20
    assert states.count("Completed") == counts["PASS"]
