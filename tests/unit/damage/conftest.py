"""What the tests of damage share: a volume with history, and the command that checks and repairs it."""

from pathlib import Path

import pytest

import volume_damage as damaged
import warehouse
from dbtpod.warehouse.warehouse import DuckDBFile
from volume_damage import Say
from warehouse import Command


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBFile:
    return damaged.with_history(warehouse.new(tmp_path_factory.mktemp("pristine")))


@pytest.fixture
def kept(pristine: DuckDBFile, memory: Path) -> DuckDBFile:
    """A volume with three builds, and what a failed run left."""
    return warehouse.twin(pristine, memory / "volume")


@pytest.fixture
def say(command: Command) -> Say:
    """Run a command of `generations`; its exit code, and all that it says."""

    def run(kept: DuckDBFile, *arguments: str) -> tuple[int, str]:
        done = command(kept, *arguments)
        return done.returncode, done.stdout + done.stderr

    return run
