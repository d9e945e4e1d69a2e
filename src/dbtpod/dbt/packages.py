"""The packages of a dbt project, installed before it is parsed for the first time: a pod installs nothing."""

import subprocess
from pathlib import Path

from dbtpod.dbt import process, yaml_file
from dbtpod.dbt.project import Project
from dbtpod.errors import DbtUnusable

# Where dbt looks for them, the first that is there.
FILES = ("packages.yml", "dependencies.yml")
_DEFAULT = "dbt_packages"


def install(project: Project, root: Path, target_dir: Path) -> str:
    """Run `dbt deps` where packages are asked for and not there yet; return what was done, "" where nothing was.

    `root` is the folder that goes into the image. A folder of packages that came with the project is taken as it is:
    whoever commits it builds without a network. DbtUnusable has dbt's own lines, or names a folder that is not below
    `root` and would be missing in every pod.
    """
    if not any(yaml_file.mappings(yaml_file.load(project.folder / name), "packages") for name in FILES):
        return ""
    folder = (project.folder / _install_path(project.folder)).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise DbtUnusable(
            f"packages-install-path of {project.folder / 'dbt_project.yml'} leads to {folder}, which is not in the "
            f"image: only {root} is. Write a folder below it, such as {_DEFAULT}."
        )
    if folder.is_dir() and any(folder.iterdir()):
        return ""
    done = subprocess.run(
        [process.executable(), "--log-format", "text", "--log-level", "info", "deps"],
        cwd=project.folder,
        # What dbt prints of it is for a person.
        env=process.environment(project, target_dir) | {"DBT_LOG_FORMAT": "text", "DBT_LOG_LEVEL": "info"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DbtUnusable(f"dbt deps ended with exit code {done.returncode}:\n{done.stdout}{_advice(done.stdout)}")
    return f"Packages installed in {folder}."


def _install_path(folder: Path) -> str:
    content = yaml_file.load(folder / "dbt_project.yml")
    found = content.get("packages-install-path") if isinstance(content, dict) else None
    return str(found or _DEFAULT)


def _advice(said: str) -> str:
    if "Could not find command" in said and '"git"' in said:
        return "Begin the stage that bakes with the image whose tag ends in -build: it has git.\n"
    if "could not read Username" in said or "Authentication failed" in said or "Permission denied (publickey)" in said:
        return "A private package needs a token as a build secret: see docs/own-project.md.\n"
    return ""
