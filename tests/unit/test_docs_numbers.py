"""Numbers of the pages that are numbers of the code, of the chart's defaults or of prefect.yaml."""

import re
from collections.abc import Iterator

import pytest
import yaml

import pages
from dbtpod.pod import contact
from dbtpod.registration import deployments, heartbeat
from dbtpod.run import LOCK_SECONDS
from dbtpod.warehouse import housekeeping
from dbtpod.warehouse.publish import READER_SECONDS
from dbtpod.watchdog import cancels, claims, missed, starting
from pages import ROOT
from rendering import CHART

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in pages.paths()}
FLOWS = (ROOT / "flows" / "flows.py").read_text()
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
JOB = (CHART / "templates" / "work-pool-configmap.yaml").read_text()


def test_the_readmes_table_of_deployments_is_that_of_prefect_yaml() -> None:
    file = deployments.read(ROOT / "prefect.yaml", environment={})
    rows = re.findall(r"^\| `(dbt-[\w-]+)` \| (.+?) \| `?(.+?)`? \| `(.+?)` \|$", PAGES["README.md"], re.MULTILINE)

    shown = {name: (when, queue) for name, _, when, queue in rows}
    assert shown == {
        each.name: (", ".join(schedule.when for schedule in each.schedules) or "by hand", each.queue)
        for each in file.deployments
    }
    # What a ready flow runs is in no file of the demo.
    functions = {each.name: each.entrypoint.rsplit(":", 1)[1] for each in file.deployments if ":" in each.entrypoint}
    for name, commands, _, _ in rows:
        if name not in functions:
            continue
        body = FLOWS.split(f"def {functions[name]}(")[1].split("\n@flow")[0]
        assert re.findall(r"`(.+?)`", commands) == re.findall(r'"([^"]+)"', body.split("run_dbt(")[1])


def sentences() -> Iterator[tuple[str, str]]:
    """A page and what it says of a number, with the code's number filled in."""
    [(retries, pause)] = re.findall(r'"build", retries=(\d+), retry_delay_seconds=(\d+)', FLOWS)
    [beat] = re.findall(r'name: PREFECT_FLOWS_HEARTBEAT_FREQUENCY\n *value: "(\d+)"', JOB)
    early = {10: "ten"}[VALUES["worker"]["prefetchSeconds"]]
    patience = {600: "ten minutes"}
    yield "README.md", f"({retries} \N{MULTIPLICATION SIGN} {pause} s for the build)"
    yield "README.md", f"for {_day(VALUES['jobs']['ttlSecondsAfterFinished'])} after its end"
    yield "docs/architecture.md", f"takes a run {early} seconds early"
    yield "docs/performance.md", f"takes a scheduled run {early} seconds early"
    yield "docs/performance.md", {1: "asks for work every second"}[VALUES["worker"]["queryInterval"]]
    yield "docs/warehouse.md", f"{housekeeping.KEEP_DAYS} days, at most {housekeeping.KEEP_RUNS};"
    yield "docs/warehouse.md", f"{housekeeping.KEEP_DAYS} days, at most {housekeeping.KEEP_PREVIEWS};"
    yield "docs/warehouse.md", f"less than {({60: 'a minute'})[READER_SECONDS]} old"
    yield "docs/warehouse.md", f"waits {patience[LOCK_SECONDS]} at most"
    yield from (
        ("docs/failures.md", text)
        for text in (
            f"after its pause ({pause} s for the build), {retries} times at most",
            f"it waits {LOCK_SECONDS:.0f} s at most, then Failed",
            f"Cancelled within {cancels.GONE_SECONDS} s, Job and pod deleted",
            f"back into the queue {claims.ORPHAN_SECONDS} s after the new worker's start",
            f"put back for up to {claims.GIVE_UP_SECONDS // 60} minutes",
            f"after {starting.SILENT_SECONDS} s, which names what to check",
            f"it waits for {patience[contact.PATIENCE_SECONDS]}, tries every {contact.PAUSE_SECONDS:.0f} s",
            f"they come every {beat} s, and three must be missing",
            f"the server is away for more than {heartbeat.HEARTBEAT_TIMEOUT.total_seconds():.0f} s",
            {60: "that are more than a minute late"}[missed.LATE_SECONDS],
        )
    )


def _day(seconds: int) -> str:
    return {86400: "a day"}[seconds]


@pytest.mark.parametrize(("page", "sentence"), list(sentences()))
def test_a_number_of_a_page_is_that_of_the_code(page: str, sentence: str) -> None:
    assert sentence in " ".join(PAGES[page].split())
