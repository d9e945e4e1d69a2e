"""What the ready flow of a request gives to `run_dbt`."""

from pathlib import Path
from typing import Any

import pytest

from dbtpod import flows
from dbtpod.request import RunRequest
from dbtpod.settings import Settings

ID = "0198c3f2-6b1e-7c1a-9d57-3f0e5a4b2c1d"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `run_dbt` was called with."""
    calls: list[Any] = []
    monkeypatch.setattr(flows, "run_dbt", lambda *commands, **rest: calls.append((commands, rest)))
    return calls


def test_a_request_is_run_piece_by_piece_in_one_run(given: list[Any]) -> None:
    period = {"event_time_start": "2026-01-01", "event_time_end": "2026-04-01"}
    request = RunRequest(**period, result="discard", retries=5, retry_delay_seconds=7)

    flows.run.fn(request)

    rest = {"retries": 5, "retry_delay_seconds": 7, "result": "discard", "continues": None}
    assert given == [(tuple(request.commands()), rest)]
    assert len(request.commands()) == 3


def test_continuing_runs_the_commands_of_the_earlier_run(given: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = {ID: [["seed"], ["build", "--select", "orders+"]]}
    monkeypatch.setattr(flows.resume, "commands_of", lambda _, run_id: earlier[run_id])
    monkeypatch.setattr(flows, "current_settings", lambda: Settings(Path("/data/work/shop.duckdb"), Path("/shop")))

    flows.run.fn(RunRequest(continue_from=ID.upper(), result="keep aside"))

    rest = {"retries": 2, "retry_delay_seconds": 60, "result": "keep aside", "continues": ID}
    assert given == [((["seed"], ["build", "--select", "orders+"]), rest)]
