"""What the tests of the warehouse share: an empty volume, and dbt's artifacts of a run."""

from pathlib import Path

import pytest

import warehouse
from dbtpod.warehouse.warehouse import DuckDBFile


@pytest.fixture
def kept(tmp_path: Path) -> DuckDBFile:
    return warehouse.new(tmp_path)


@pytest.fixture
def artifacts(tmp_path: Path) -> tuple[Path, ...]:
    folder = tmp_path / "runs" / "run" / "target"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"nodes": {}}')
    (folder / "run_results.json").write_text('{"results": []}')
    return folder / "manifest.json", folder / "run_results.json", folder / "catalog.json"
