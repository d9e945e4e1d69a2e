"""What the tests of damage share: a volume with history, and the command that checks and repairs it."""

from pathlib import Path

import pytest

import volume_damage as damaged
import warehouse
from dbtpod import cli
from dbtpod.warehouse.warehouse import DuckDBFile
from volume_damage import Say


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBFile:
    return damaged.with_history(warehouse.new(tmp_path_factory.mktemp("pristine")))


@pytest.fixture
def kept(pristine: DuckDBFile, memory: Path) -> DuckDBFile:
    """A volume with three builds, and what a failed run left."""
    return warehouse.twin(pristine, memory / "volume")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    """Run a command of `generations`; its exit code, and all that it says."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dbt_project.yml").touch()
    monkeypatch.setenv("DBT_PROJECT_DIR", str(tmp_path / "project"))

    def run(kept: DuckDBFile, *arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("DUCKDB_PATH", str(kept.volume.database))
        code = cli.main(["generations", *arguments])
        out, err = capsys.readouterr()
        return code, out + err

    return run
