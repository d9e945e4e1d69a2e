"""What a user sets, read from the environment; every wrong one is named at once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dbtpod.errors import SettingsError

# The resident memory of Prefect's and dbt's processes in a pod, measured at 120 and 190 MiB, with some room.
_INTERPRETERS_MB = 400


@dataclass(frozen=True)
class Settings:
    """Where the warehouse and the dbt project are, and how the warehouse is kept."""

    # The file that runs build on; every path of the volume is derived from it (warehouse.volume).
    duckdb_path: Path
    # Holds dbt_project.yml and profiles.yml.
    project_dir: Path
    # False: build in place, for files too large to copy; readers then wait for writers.
    publish: bool = True
    # How many published builds are kept, the current one included.
    keep_generations: int = 3
    # NFS and SMB keep no locks that two nodes can trust; True is the user's word that theirs does.
    allow_network_filesystem: bool = False
    # What DuckDB may use, as it writes it ("1400MB"); None leaves it to DuckDB, which sees the whole node.
    memory_limit: str | None = None


def environment() -> dict[str, str]:
    """Return a copy of the process's environment.

    A copy, as it cannot change while another thread reads it. os.environ is used here, and by the watchdog, which
    imports nothing of ours; a lint rule refuses it elsewhere.
    """
    return dict(os.environ)


def add_to_environment(values: Mapping[str, str]) -> None:
    """Give variables to this process and to what it starts; for a process that has no second thread yet."""
    os.environ.update(values)


def from_environment(given: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a run; SettingsError names each variable that is missing or wrong.

    DUCKDB_PATH must be absolute and two folders deep (`<volume>/work/warehouse.duckdb`). DBT_PROJECT_DIR, dbt's own
    variable, is the folder `dbt_project` here unless set.

    >>> from_environment({"DUCKDB_PATH": "/data/work/shop.duckdb"}).keep_generations
    3
    """
    values = environment() if given is None else given
    problems: list[str] = []
    path = duckdb_path(values)
    if not values.get("DUCKDB_PATH"):
        problems.append("DUCKDB_PATH is not set: give the DuckDB file's path, such as /data/work/warehouse.duckdb.")
    elif path is None:
        problems.append(
            f"DUCKDB_PATH is {values['DUCKDB_PATH']!r}: it must be absolute, such as /data/work/warehouse.duckdb."
        )
    project = Path(values.get("DBT_PROJECT_DIR", "dbt_project")).absolute()
    if not (project / "dbt_project.yml").is_file():
        problems.append(f"DBT_PROJECT_DIR is {str(project)!r}: there is no dbt_project.yml in it.")
    settings = Settings(
        duckdb_path=path or Path(),
        project_dir=project,
        publish=_boolean(values, "DBTPOD_PUBLISH", True, problems),
        keep_generations=_positive(values, "DBTPOD_KEEP_GENERATIONS", 3, problems),
        allow_network_filesystem=_boolean(values, "DBTPOD_ALLOW_NETWORK_FILESYSTEM", False, problems),
        memory_limit=_memory_limit(values, problems),
    )
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def duckdb_path(environment: Mapping[str, str]) -> Path | None:
    """Return DUCKDB_PATH; None where it names no file on a volume."""
    path = Path(environment.get("DUCKDB_PATH", ""))
    return path if path.is_absolute() and len(path.parts) >= 4 else None


def _memory_limit(environment: Mapping[str, str], problems: list[str]) -> str | None:
    """Return DBTPOD_MEMORY_LIMIT, or what the pod's limit leaves to DuckDB beside Prefect's and dbt's own processes."""
    if "DBTPOD_MEMORY_LIMIT" in environment or "DBTPOD_POD_MEMORY_BYTES" not in environment:
        return environment.get("DBTPOD_MEMORY_LIMIT")
    megabytes = _positive(environment, "DBTPOD_POD_MEMORY_BYTES", 1, problems) // 10**6
    return f"{max(128, (megabytes - _INTERPRETERS_MB) * 85 // 100)}MB"


def _boolean(environment: Mapping[str, str], name: str, default: bool, problems: list[str]) -> bool:
    value = environment.get(name, str(default)).lower()
    if value not in ("true", "false"):
        problems.append(f"{name} is {value!r}: it must be true or false.")
    return value == "true"


def _positive(environment: Mapping[str, str], name: str, default: int, problems: list[str]) -> int:
    value = environment.get(name, str(default))
    if not value.isdecimal() or int(value) < 1:
        problems.append(f"{name} is {value!r}: it must be a whole number, 1 or more.")
        return default
    return int(value)
