"""The report and the progress as Prefect artifacts, on a real Prefect server."""

import json
import os
import re
import signal
import time
from datetime import UTC, datetime
from uuid import UUID

import pytest
from prefect import flow
from prefect.runtime import flow_run

from dbtpod.dbt.events import BatchFinished, NodeFinished, NodeStarted
from dbtpod.dbt.node import NodeStatus
from dbtpod.ui import artifacts, progress
from dbtpod.ui.artifacts import ReportSender
from dbtpod.ui.progress import Progress
from prefect_server import Server
from waiting import until

TABLE = [{"node": "model fct_orders", "status": "success", "seconds": 0.5, "rows": 2000, "message": "OK"}]
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_the_report_is_a_table_and_a_page_whose_history_prefect_keeps(api: Server) -> None:
    runs = [sent(), sent()]

    kept = [{artifact["key"]: artifact for artifact in api.filter("artifacts", run)} for run in runs]
    assert [sorted(artifact) for artifact in kept] == [["shop-build-report", "shop-build-results"]] * 2
    assert json.loads(kept[0]["shop-build-results"]["data"]) == TABLE
    assert kept[0]["shop-build-report"]["data"] == "# 1 done"
    collection = api.get("/artifacts/shop-build-results/latest")
    assert collection["flow_run_id"] == runs[1], "one key, and its newest artifact is the last run's"


def test_an_api_that_does_not_answer_costs_the_run_seconds_and_one_warning(
    api: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(artifacts, "_SECONDS", 2.0)
    took: list[float] = []

    @flow(name="shop-build")
    def build() -> None:
        os.kill(api.process.pid, signal.SIGSTOP)
        begun = time.monotonic()
        with ReportSender() as sender:
            sender.send(TABLE, "# 1 done")
        took.append(time.monotonic() - begun)
        os.kill(api.process.pid, signal.SIGCONT)

    try:
        build()
    finally:
        os.kill(api.process.pid, signal.SIGCONT)

    assert took[0] < 45
    [warning] = [record.getMessage() for record in caplog.records if "did not reach Prefect" in record.getMessage()]
    assert "no answer in 2 s" in warning


def test_the_bar_moves_while_the_command_runs_and_ends_with_it(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.1)
    seen: list[float] = []

    @flow(name="shop-build")
    def build() -> None:
        run = str(flow_run.id)
        with Progress("dbt build", UUID(flow_run.get_id()), lambda _: None) as bar:
            for at, status in enumerate((NodeStatus.SUCCESS, NodeStatus.FAIL, NodeStatus.SKIPPED, NodeStatus.WARN), 1):
                bar.observe(NodeStarted(f"model.shop.m{at}", "model", f"m{at}", NOW, at, 4))
                bar.observe(NodeFinished(f"model.shop.m{at}", "model", f"m{at}", status, NOW, 0.1, "", None))
                expected = 25.0 * at
                seen.append(until(lambda now=expected: bar_at(api, run, now)))
        bar.wait()
        [artifact] = api.filter("artifacts", run)
        assert artifact["description"] == "dbt build: 4 of 4 done, 1 failed, 1 skipped"

    build()

    assert seen == [25.0, 50.0, 75.0, 100.0]


def test_the_log_says_how_far_dbt_is_and_what_takes_long(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.05)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.2)
    lines: list[str] = []

    @flow(name="shop-build")
    def build() -> None:
        with Progress("dbt build", UUID(flow_run.get_id()), lines.append) as bar:
            bar.observe(NodeStarted("model.shop.a", "model", "a", NOW, 1, 96))
            bar.observe(NodeFinished("model.shop.a", "model", "a", NodeStatus.ERROR, NOW, 0.1, "", None))
            bar.observe(NodeStarted("model.shop.slow", "model", "slow", NOW, 2, 96))
            until(lambda: len(lines) == 2)

    build()

    assert re.fullmatch(r"dbt build: 1 of 96 done, 1 failed; model slow is running for \d+ s", lines[0])
    assert lines[1].startswith("dbt build: 1 of 96 done"), "nothing ended, yet the log must not fall silent"


def test_a_model_of_batches_is_one_node_and_its_batches_are_named(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.05)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.1)
    lines: list[str] = []

    @flow(name="shop-build")
    def build() -> None:
        with Progress("dbt build", UUID(flow_run.get_id()), lines.append) as bar:
            bar.observe(NodeStarted("model.shop.daily", "model", "daily", NOW, 1, 1))
            for batch in range(1, 8):
                bar.observe(BatchFinished("model.shop.daily", batch, 9, NodeStatus.ERROR, "why"))
            until(lambda: lines)
            for _ in range(3):
                bar.ended("model.shop.daily", NodeStatus.ERROR)
            assert str(bar) == "1 of 1 done, 1 failed"

    build()

    assert re.fullmatch(r"dbt build: 0 of 1 done; model daily is running for \d+ s, batch 7 of 9 is done", lines[0])


def sent() -> str:
    @flow(name="Shop Build")
    def build() -> str:
        with ReportSender() as sender:
            sender.send(TABLE, "# 1 done")
        return str(flow_run.id)

    return build()


def bar_at(api: Server, run: str, percent: float) -> float | None:
    return next((percent for artifact in api.filter("artifacts", run) if float(artifact["data"]) == percent), None)
