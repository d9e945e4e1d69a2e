"""What dbt parsed of the project, kept with it: made by `bake` for the image, given to each command before it starts.

dbt throws it away, and parses everything again, when the path of the DuckDB file, another part of the profile's
connection, or a variable that dbt_project.yml reads is another than at baking time. So both go through
`process.environment`, and what differs from pod to pod is not in the profile (`duckdb_plugin`).
"""

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dbtpod.dbt import arguments
from dbtpod.dbt.project import Project, facts
from dbtpod.environment import environment

FILE = "partial_parse.msgpack"


def baked_path(project: Project, target: str) -> Path:
    """Return where a target's state lies, beside the profile that it was parsed with."""
    return project.profiles_dir / target / FILE


def size(project: Project) -> int:
    """Return the bytes of the default target's state; 0 where nothing was baked."""
    baked = _baked(project)
    return baked.stat().st_size if baked else 0


def fingerprint(project: Project) -> str:
    """Return a digest of the project as it was baked; empty where nothing was."""
    baked = _baked(project)
    return hashlib.sha256(baked.read_bytes()).hexdigest() if baked else ""


def give(project: Project, args: Sequence[str], target_dir: Path) -> None:
    """Put the state of the command's target where dbt looks for it.

    Without one dbt parses everything, and nothing else changes.
    """
    if baked := _baked(project, args):
        shutil.copyfile(baked, target_dir / FILE)


def take_away(target_dir: Path) -> None:
    """Remove what dbt left of it at a command's end: megabytes in each of many runs, which are not read again."""
    # The error that ended the command must not be hidden by one here.
    with suppress(OSError):
        (target_dir / FILE).unlink()


def _baked(project: Project, args: Sequence[str] = ()) -> Path | None:
    known = facts(project.folder)
    named = arguments.parse(args).last("--target")
    target = named or (known and known.default(environment()))
    found = baked_path(project, target) if target else None
    return found if found and found.is_file() else None
