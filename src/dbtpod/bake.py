"""What `dbtpod bake` does: have dbt parse the project while the image is built, for each target of the profile.

What it parsed lies with the project (`parse_state`), and what it compiled, for the preloaded dbt (`precompiled`).
"""

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from dbtpod.dbt import process
from dbtpod.dbt.parse_state import FILE, READER, WRITER, baked_path, target_options
from dbtpod.dbt.project import Project
from dbtpod.errors import DbtUnusable
from dbtpod.faststart import precompiled


def bake(project: Project) -> None:
    """Parse the project for each target that the profile has; DbtUnusable has dbt's own lines where it cannot."""
    with ThreadPoolExecutor() as side_by_side:
        list(side_by_side.map(lambda target: _bake(project, target), (WRITER, READER)))


def _bake(project: Project, target: str) -> None:
    """Parse the project for one target and keep dbt's parse state; a profile without a reader is no error."""
    with tempfile.TemporaryDirectory() as folder:
        args = ["--log-format", "text", "--log-level", "info", "parse", *target_options(target)]
        done = subprocess.run(
            [*_parser(project, target), *args],
            cwd=project.folder,
            env=process.environment(project, Path(folder)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if target == READER and "does not have a target named" in done.stdout:
            sys.stderr.write("The profile has no target `reader`: commands that only read will fail.\n")
            return
        if done.returncode:
            raise DbtUnusable(f"dbt parse for the {target} ended with exit code {done.returncode}:\n{done.stdout}")
        baked_path(project, target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(folder) / FILE, baked_path(project, target))


def _parser(project: Project, target: str) -> list[str]:
    """Return the dbt that parses: as a Python package the one that keeps what it compiles, else the executable."""
    if target == WRITER and find_spec("dbt"):
        return [sys.executable, "-P", precompiled.__file__, str(precompiled.path(project.folder))]
    return [process.executable()]
