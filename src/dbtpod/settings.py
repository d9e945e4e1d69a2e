"""What a user sets, read from the environment; every wrong one is named at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dbtpod.dbt import kinds, project

# What it is read from, for whoever reads settings.
from dbtpod.environment import add_to_environment as add_to_environment
from dbtpod.environment import environment as environment
from dbtpod.environment import of_helper as of_helper
from dbtpod.errors import SettingsError

WRITERS = "DBTPOD_WAREHOUSE_WRITERS"

# The resident memory of Prefect's and dbt's processes in a pod, measured at 120 and 190 MiB, with some room.
_INTERPRETERS_MB = 400


@dataclass(frozen=True)
class Settings:
    """Where the warehouse and the dbt project are, and how the warehouse is kept."""

    # The file that runs build on; every path of the volume is derived from it (warehouse.volume). With the kind
    # `remote` there is no such file.
    duckdb_path: Path
    # Holds dbt_project.yml.
    project_dir: Path
    # Where the data is kept: see `dbt.kinds`.
    kind: str = kinds.FILE
    # How many runs may write at once.
    writers: int = 1
    # False: build in place, for files too large to copy; readers then wait for writers.
    publish: bool = True
    # How many published builds are kept, the current one included.
    keep_generations: int = 3
    # How long rows of the history of runs are kept.
    history_days: int = 400
    # NFS and SMB keep no locks that two nodes can trust; True is the user's word that theirs does.
    allow_network_filesystem: bool = False
    # What DuckDB may use, as it writes it ("1400MB"); None leaves it to DuckDB, which sees the whole node.
    memory_limit: str | None = None


def from_environment(given: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of a run; SettingsError names each variable that is missing or wrong.

    The project is that of DBT_PROJECT_DIR, or the one that `project.find` finds. The DuckDB file is DUCKDB_PATH, which
    must be absolute and two folders deep (`<volume>/work/warehouse.duckdb`), or else lies on the volume
    DBTPOD_VOLUME, with the name that the user's profile gives it.

    >>> from_environment({"DUCKDB_PATH": "/data/work/shop.duckdb", "DBT_PROJECT_DIR": "dbt_project"}).keep_generations
    3
    """
    values = environment() if given is None else given
    problems: list[str] = []
    folder = _project(values, problems)
    kind = _kind(values, folder, problems)
    settings = Settings(
        duckdb_path=_duckdb_path(values, folder, problems) or Path(),
        project_dir=folder or Path(),
        kind=kind,
        writers=_writers(values, kind, problems),
        publish=_boolean(values, "DBTPOD_PUBLISH", True, problems),
        keep_generations=_positive(values, "DBTPOD_KEEP_GENERATIONS", 3, problems),
        history_days=_positive(values, "DBTPOD_HISTORY_DAYS", 400, problems),
        allow_network_filesystem=_boolean(values, "DBTPOD_ALLOW_NETWORK_FILESYSTEM", False, problems),
        memory_limit=_memory_limit(values, problems),
    )
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def duckdb_path(environment: Mapping[str, str]) -> Path | None:
    """Return the DuckDB file that runs build on; None where the settings name none on a volume."""
    folder = None if environment.get("DUCKDB_PATH") else _project(environment, [])
    return _duckdb_path(environment, folder, [])


def writers(environment: Mapping[str, str], folder: Path) -> int:
    """Return how many runs may write at once, by what a registration knows; SettingsError where the kind does not fit.

    `folder` is where it looks for the dbt project: there need not be one.
    """
    problems: list[str] = []
    try:
        place = project.find(environment, folder)
    except SettingsError:
        place = None
    found = _writers(environment, _kind(environment, place, problems), problems)
    if problems:
        raise SettingsError("\n".join(problems))
    return found


def _kind(environment: Mapping[str, str], folder: Path | None, problems: list[str]) -> str:
    """Return the kind that is declared, or else the one that the profile's default target needs."""
    known = project.facts(folder) if folder else None
    default = kinds.default_target(known, environment) if known else None
    kind = kinds.declared(environment) or (kinds.needed(default[1].adapter) if default else kinds.FILE)
    if kind not in kinds.KINDS:
        problems.append(f"{kinds.VARIABLE} is {kind!r}: it must be {', '.join(kinds.KINDS[:-1])} or {kinds.KINDS[-1]}.")
    if known and default and (misfit := kinds.misfit(kind, default[1].adapter)):
        problems.append(f"{folder}: profile `{known.profile}`, target `{default[0]}` {misfit}")
    return kind


def _writers(environment: Mapping[str, str], kind: str, problems: list[str]) -> int:
    found = _positive(environment, WRITERS, 1, problems)
    if found > 1 and kind in kinds.ONE_WRITER:
        problems.append(
            f"{WRITERS} is {found}, and warehouse.kind is {kind}: {kinds.ONE_WRITER[kind]}, so leave warehouse.writers "
            "at 1."
        )
    return found


def _project(environment: Mapping[str, str], problems: list[str]) -> Path | None:
    try:
        return project.find(environment, Path.cwd())
    except SettingsError as error:
        problems.append(str(error))
        return None


def _duckdb_path(environment: Mapping[str, str], folder: Path | None, problems: list[str]) -> Path | None:
    """DUCKDB_PATH, or the project's file on DBTPOD_VOLUME; None, with a problem, where it is not on a volume."""
    given, volume = environment.get("DUCKDB_PATH"), environment.get("DBTPOD_VOLUME")
    if given:
        path = Path(given)
        if path.is_absolute() and len(path.parts) >= 4:
            return path
        problems.append(f"DUCKDB_PATH is {given!r}: it must be absolute, such as /data/work/warehouse.duckdb.")
    elif not volume:
        problems.append(
            "DUCKDB_PATH is not set, nor is DBTPOD_VOLUME: give the DuckDB file's path, such as "
            "/data/work/warehouse.duckdb, or the folder of its volume, such as /data."
        )
    elif not Path(volume).is_absolute() or len(Path(volume).parts) < 2:
        problems.append(f"DBTPOD_VOLUME is {volume!r}: it must be absolute, such as /data.")
    elif folder and (catalog := project.catalog(folder, environment)):
        return Path(volume) / "work" / f"{catalog}.duckdb"
    elif folder:
        problems.append(f"The DuckDB file of {folder} has no name yet: run `dbtpod bake`, or set DUCKDB_PATH.")
    return None


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
