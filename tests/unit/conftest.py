"""What the unit tests share: a folder in memory, and the command `dbtpod generations` in this process."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbtpod import cli
from dbtpod.warehouse.warehouse import DuckDBFile
from warehouse import Command

HERE = Path(__file__).parent
# Most of their tests render the chart, start git or make warehouses: some tenths of a second each, minutes together.
SLOW = {"chart", "damage", "docs_site", "history", "init", "warehouse"}


# Before pytest chooses by marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave whole folders out of `make check`, which is the inner loop; whoever works on one names it to pytest."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).parts[0] in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder where fsync costs nothing, if there is one. What a process has written outlives its death there too."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run `dbtpod generations` on a volume, without the start of a process; its exit code and what it printed."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "dbt_project.yml").touch()

    def run(kept: DuckDBFile, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"DUCKDB_PATH": str(kept.volume.database), "DBT_PROJECT_DIR": str(project)} | environment
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        code = cli.main(["generations", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run
