"""What dbt parsed of the project, kept with it: baked when the image is built, given to each command before it starts.

dbt throws it away, and parses everything again, when the project's path, the profile, or a variable that the profile
reads (DUCKDB_PATH) is another than at baking time; so both go through `process.environment`.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from dbtpod.dbt import precompiled, process
from dbtpod.errors import DbtUnusable
from dbtpod.settings import Settings, for_project

FILE = "partial_parse.msgpack"
# The profile's own default target, and the one whose connection is read-only.
WRITER, READER = "writer", "reader"


def target_options(target: str) -> list[str]:
    """Return the options that choose a target: none for the writer's, which is the profile's default."""
    return ["--target", READER] if target == READER else []


def baked_path(settings: Settings, target: str) -> Path:
    """Return where a target's state lies in the project's folder."""
    return settings.project_dir / "target" / target / FILE


def size(settings: Settings) -> int:
    """Return the bytes of the writer's state; 0 where nothing was baked."""
    baked = baked_path(settings, WRITER)
    return baked.stat().st_size if baked.is_file() else 0


def fingerprint(settings: Settings) -> str:
    """Return a digest of the project as it was baked; empty where nothing was."""
    baked = baked_path(settings, WRITER)
    return hashlib.sha256(baked.read_bytes()).hexdigest() if baked.is_file() else ""


def give(settings: Settings, target: str, target_dir: Path) -> None:
    """Put the baked state where dbt looks for it; without one dbt parses everything, and nothing else changes."""
    baked = baked_path(settings, target)
    if baked.is_file():
        shutil.copyfile(baked, target_dir / FILE)


def bake(settings: Settings) -> None:
    """Parse the project for each target that the profile has; DbtUnusable has dbt's own lines where it cannot."""
    with ThreadPoolExecutor() as side_by_side:
        list(side_by_side.map(lambda target: _bake(settings, target), (WRITER, READER)))


def _bake(settings: Settings, target: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        args = ["--log-format", "text", "--log-level", "info", "parse", *target_options(target)]
        done = subprocess.run(
            [*_parser(settings, target), *args],
            cwd=settings.project_dir,
            env=process.environment(settings, Path(folder)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if target == READER and "does not have a target named" in done.stdout:
            print("The profile has no target `reader`: flows that use reader() will fail.", file=sys.stderr)
            return
        if done.returncode:
            raise DbtUnusable(f"dbt parse for the {target} ended with exit code {done.returncode}:\n{done.stdout}")
        baked_path(settings, target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(folder) / FILE, baked_path(settings, target))


def _parser(settings: Settings, target: str) -> list[str]:
    """The dbt that parses; where it is a Python package, it is the one that keeps what it compiles."""
    if target == WRITER and find_spec("dbt"):
        return [sys.executable, "-P", precompiled.__file__, str(precompiled.path(settings.project_dir))]
    return [process.executable()]


if __name__ == "__main__":
    try:
        bake(for_project())
    except DbtUnusable as error:
        sys.exit(str(error))
