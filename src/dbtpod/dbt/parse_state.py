"""What dbt parsed of the project, kept with it: made by `bake` for the image, given to each command before it starts.

dbt throws it away, and parses everything again, when the project's path, the profile, or a variable that the profile
reads (DUCKDB_PATH) is another than at baking time; so both go through `process.environment`.
"""

import hashlib
import shutil
from contextlib import suppress
from pathlib import Path

from dbtpod.dbt.project import Project

FILE = "partial_parse.msgpack"
# The profile's own default target, and the one whose connection is read-only.
WRITER, READER = "writer", "reader"


def target_options(target: str) -> list[str]:
    """Return the options that choose a target: none for the writer's, which is the profile's default."""
    return ["--target", READER] if target == READER else []


def baked_path(project: Project, target: str) -> Path:
    """Return where a target's state lies in the project's folder."""
    return project.folder / "target" / target / FILE


def size(project: Project) -> int:
    """Return the bytes of the writer's state; 0 where nothing was baked."""
    baked = baked_path(project, WRITER)
    return baked.stat().st_size if baked.is_file() else 0


def fingerprint(project: Project) -> str:
    """Return a digest of the project as it was baked; empty where nothing was."""
    baked = baked_path(project, WRITER)
    return hashlib.sha256(baked.read_bytes()).hexdigest() if baked.is_file() else ""


def give(project: Project, target: str, target_dir: Path) -> None:
    """Put the baked state where dbt looks for it; without one dbt parses everything, and nothing else changes."""
    baked = baked_path(project, target)
    if baked.is_file():
        shutil.copyfile(baked, target_dir / FILE)


def take_away(target_dir: Path) -> None:
    """Remove what dbt left of it at a command's end: megabytes in each of many runs, which are not read again."""
    # The error that ended the command must not be hidden by one here.
    with suppress(OSError):
        (target_dir / FILE).unlink()
