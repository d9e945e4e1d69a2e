"""The only reader of the environment; every path of the volume is derived from DUCKDB_PATH.

volume/                          e.g. /data, the claim
├── work/warehouse.duckdb        DUCKDB_PATH: what a writing run builds on
├── work/owner.json              the flow run whose working copy it is, and the generation it began from
├── writer.lock                  held by the one writing run
├── published/<n>/               a generation: warehouse.duckdb and dbt's artifacts of its build
├── published/current            link to the generation that readers see
├── runs/<flow run id>/          dbt's artifacts of each attempt
└── set-aside/                   what was damaged or in the way; never removed by us
"""

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dbtpod.errors import SettingsError

# The resident memory of Prefect's and dbt's processes in a pod, measured at 120 and 190 MiB, with some room.
_INTERPRETERS_MB = 400


@dataclass(frozen=True)
class Settings:
    """Where the warehouse and the dbt project are, and how the warehouse is kept."""

    # The writer's file. Its stem is the catalog's name that DuckDB views carry, and its path is part of dbt's
    # parse cache: neither may change between runs.
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
    # What readers open while `published/current` is lost; None: what that link leads to.
    reads: Path | None = None

    @property
    def volume(self) -> Path:
        """The folder that holds everything that lasts."""
        return self.duckdb_path.parent.parent

    @property
    def owner_path(self) -> Path:
        """Says which flow run the working copy belongs to; a DuckDB file without it was brought or built in place."""
        return self.duckdb_path.with_name("owner.json")

    @property
    def lock_path(self) -> Path:
        """The file whose kernel lock makes its holder the one writer."""
        return self.volume / "writer.lock"

    @property
    def published_dir(self) -> Path:
        """The generations, and the link `current` to the one that readers see."""
        return self.volume / "published"

    @property
    def readable_path(self) -> Path:
        """The DuckDB file that readers open."""
        published = self.published_dir / "current" / self.duckdb_path.name if self.publish else self.duckdb_path
        return self.reads or published

    @property
    def runs_dir(self) -> Path:
        """One folder for each flow run, with dbt's artifacts of each attempt."""
        return self.volume / "runs"

    @property
    def set_aside_dir(self) -> Path:
        """What was damaged or in the way of a run, and is not removed."""
        return self.volume / "set-aside"

    def reader_runs_dir(self) -> Path:
        """Return where a reading run leaves dbt's artifacts: in `runs_dir`, or for a while where it may not write."""
        folder = self.runs_dir if self.runs_dir.exists() else self.volume
        may_write = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
        return self.runs_dir if may_write else Path(tempfile.mkdtemp(prefix="dbtpod-runs-"))


def from_environment(environment: Mapping[str, str] = os.environ, *, writes: bool = True) -> Settings:
    """Read the settings for a run; SettingsError names each variable that is missing or wrong.

    DUCKDB_PATH must be absolute and two folders deep (`<volume>/work/warehouse.duckdb`), its volume must exist and
    be readable, and writable for a run that `writes`. DBT_PROJECT_DIR, dbt's own variable, is the folder `dbt_project`
    here unless set.
    """
    settings, problems = _read(environment)
    problems += _volume_problems(settings.volume, writes) if not problems else []
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def runs_dir(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of the flow runs before there are settings; None where DUCKDB_PATH names no volume."""
    path = Path(environment.get("DUCKDB_PATH", ""))
    return Settings(path, Path()).runs_dir if path.is_absolute() and len(path.parts) >= 4 else None


def for_project(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings where there is no volume, as when the image is built."""
    settings, problems = _read(environment)
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _read(environment: Mapping[str, str]) -> tuple[Settings, list[str]]:
    problems: list[str] = []
    path = Path(environment.get("DUCKDB_PATH", ""))
    if not environment.get("DUCKDB_PATH"):
        problems.append("DUCKDB_PATH is not set: give the DuckDB file's path, such as /data/work/warehouse.duckdb.")
    elif not path.is_absolute() or len(path.parts) < 4:
        problems.append(f"DUCKDB_PATH is {str(path)!r}: it must be absolute, such as /data/work/warehouse.duckdb.")
    project = Path(environment.get("DBT_PROJECT_DIR", "dbt_project")).absolute()
    if not (project / "dbt_project.yml").is_file():
        problems.append(f"DBT_PROJECT_DIR is {str(project)!r}: there is no dbt_project.yml in it.")
    settings = Settings(
        duckdb_path=path,
        project_dir=project,
        publish=_boolean(environment, "DBTPOD_PUBLISH", True, problems),
        keep_generations=_positive(environment, "DBTPOD_KEEP_GENERATIONS", 3, problems),
        allow_network_filesystem=_boolean(environment, "DBTPOD_ALLOW_NETWORK_FILESYSTEM", False, problems),
        memory_limit=_memory_limit(environment, problems),
    )
    return settings, problems


def _memory_limit(environment: Mapping[str, str], problems: list[str]) -> str | None:
    """Return DBTPOD_MEMORY_LIMIT, or what the pod's limit leaves to DuckDB beside Prefect's and dbt's own processes."""
    if "DBTPOD_MEMORY_LIMIT" in environment or "DBTPOD_POD_MEMORY_BYTES" not in environment:
        return environment.get("DBTPOD_MEMORY_LIMIT")
    megabytes = _positive(environment, "DBTPOD_POD_MEMORY_BYTES", 1, problems) // 10**6
    return f"{max(128, (megabytes - _INTERPRETERS_MB) * 85 // 100)}MB"


def _volume_problems(volume: Path, writes: bool) -> list[str]:
    # Path.is_dir and Path.exists raise where they may not look.
    if not os.path.isdir(volume):  # noqa: PTH112
        what = "is a file: mount it there." if os.path.exists(volume) else "does not exist: create or mount it."  # noqa: PTH110
        return [f"DUCKDB_PATH needs the volume {volume}, but the folder {volume} {what}"]
    problem = access_problem(volume, os.R_OK | os.X_OK) or (writes and access_problem(volume, os.W_OK))
    return [problem] if problem else []


def access_problem(path: Path, right: int) -> str:
    """Say why this process has not the `right` (os.R_OK, os.W_OK) to the file or folder, and what to do; "" if it has.

    A volume that is mounted read-only and a folder of another user give the same error, and need different cures.
    """
    if os.access(path, right):
        return ""
    if right & os.W_OK and os.statvfs(path).f_flag & os.ST_RDONLY:
        return (
            f"{path} is on a volume that is mounted read-only, and a run that builds must write to it. Look for "
            "readOnly: true at the pod's volume or mount. A disk error makes the kernel do the same: see the node's "
            "kernel log. Runs that only read go on."
        )
    status = path.stat()
    verb = "write to" if right & os.W_OK else "read"
    return (
        f"uid {os.getuid()} (gid {os.getgid()}) may not {verb} {path}: it belongs to uid {status.st_uid} and gid "
        f"{status.st_gid}, with mode {stat.S_IMODE(status.st_mode):04o}. In a pod set podSecurityContext.fsGroup, by "
        "which Kubernetes gives its group the volume. A volume that ignores fsGroup (hostPath, NFS) needs, as root: "
        f"chown -R {os.getuid()}:{os.getgid()} {path}"
    )


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
