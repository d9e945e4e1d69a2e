"""What the tests of the history share: a volume, and its history."""

import logging
from pathlib import Path
from typing import Any

import pytest

import warehouse
from dbtpod.history import store
from dbtpod.history.update import History
from dbtpod.warehouse.warehouse import DuckDBFile
from run_folders import Ask, Update

# Nothing is pruned: the times of the recorded runs are what they are.
DAYS = 100_000


@pytest.fixture
def kept(tmp_path: Path) -> DuckDBFile:
    (tmp_path / "volume").mkdir()
    return warehouse.new(tmp_path / "volume")


@pytest.fixture
def update(kept: DuckDBFile, caplog: pytest.LogCaptureFixture) -> Update:
    """Bring the history up to date, as a run does at its end; the warnings of that."""

    def update(days: int = DAYS) -> list[str]:
        caplog.clear()
        with warehouse.alone(kept):
            History(kept.generations, days).bring_up_to_date(warehouse.LOG)
        return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]

    return update


@pytest.fixture
def ask(kept: DuckDBFile) -> Ask:
    """What the newest history answers."""

    def ask(sql: str, folder: Path | None = None) -> list[tuple[Any, ...]]:
        with store.read(folder or kept.volume.history) as history:
            return history.execute(sql).fetchall()

    return ask
