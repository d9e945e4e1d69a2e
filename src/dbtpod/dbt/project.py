"""The dbt project, and the files that its targets open: what each dbt command is started with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Project:
    """A dbt project of this image or machine."""

    # Holds dbt_project.yml and profiles.yml.
    folder: Path
    # The file that the profile's default target writes to: DUCKDB_PATH.
    writes: Path
    # The file that its target `reader` opens: DBTPOD_READABLE_PATH.
    reads: Path
    # What DuckDB may use, as it writes it ("1400MB"); None leaves it to DuckDB.
    memory_limit: str | None = None
