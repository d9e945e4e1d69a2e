"""What several tests share: a project with one of each thing, built and published once."""

from pathlib import Path

import pytest

import documented
from documented import Documented


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Documented:
    """Give the project of `documented`, built; generation 1 was imported, and 2 is of `dbt build`."""
    folder: Path = tmp_path_factory.mktemp("documented")
    return documented.build(folder)
