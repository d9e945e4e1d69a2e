"""The packages of a dbt project, installed while the image is built: a pod installs nothing."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from dbtpod.dbt import process
from dbtpod.dbt.project import Project
from dbtpod.errors import DbtUnusable

# Where dbt looks for them, the first that is there.
FILES = ("packages.yml", "dependencies.yml")
_DEFAULT = "dbt_packages"


def install(project: Project, root: Path, target_dir: Path) -> str:
    """Run `dbt deps` where packages are asked for and not there yet; say what was done, "" where nothing is asked for.

    `root` is the folder that goes into the image. A folder of packages that came with the project is taken as it is:
    whoever commits it builds without a network. DbtUnusable has dbt's own lines, or names a folder that is not below
    `root` and would be missing in every pod.
    """
    if not _asked_for(project.folder):
        return ""
    folder = (project.folder / _install_path(project.folder)).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise DbtUnusable(
            f"packages-install-path of {project.folder / 'dbt_project.yml'} leads to {folder}, which is not in the "
            f"image: only {root} is. Write a folder below it, such as {_DEFAULT}."
        )
    if folder.is_dir() and any(folder.iterdir()):
        return f"The packages in {folder} came with the project: they are not installed again."
    done = subprocess.run(
        [process.executable(), "--log-format", "text", "--log-level", "info", "deps"],
        cwd=project.folder,
        env=process.environment(project, target_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DbtUnusable(f"dbt deps ended with exit code {done.returncode}:\n{done.stdout}{_advice(done.stdout)}")
    return f"Packages installed in {folder}."


def _asked_for(folder: Path) -> bool:
    return any((_content(folder / name) or {}).get("packages") for name in FILES)


def _install_path(folder: Path) -> str:
    return str((_content(folder / "dbt_project.yml") or {}).get("packages-install-path") or _DEFAULT)


def _content(path: Path) -> Any:
    if not path.is_file():
        return None
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else None


def _advice(said: str) -> str:
    if "Could not find command" in said and '"git"' in said:
        return "Begin the stage that bakes with the image whose tag ends in -build: it has git.\n"
    if "could not read Username" in said or "Authentication failed" in said or "Permission denied (publickey)" in said:
        return "A private package needs a token as a build secret: see docs/own-project.md.\n"
    return ""
