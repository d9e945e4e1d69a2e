"""The dbt project: where it is, and the files that its targets open, which each dbt command is started with."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dbtpod.dbt import arguments
from dbtpod.errors import SettingsError

_YAML = "dbt_project.yml"
_NO_PROJECTS = {"dbt_packages", "dbt_modules", "target", "node_modules"}
_DEPTH = 3


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


def find(environment: Mapping[str, str], here: Path) -> Path:
    """Return the folder of the dbt project: DBT_PROJECT_DIR, or the one in `here` or in one of its subfolders.

    A project that another one has as a package is not meant. SettingsError where there is none or more than one.
    """
    given = arguments.variable(environment, "PROJECT_DIR")
    if given:
        folder = Path(os.path.normpath(here / given))
        if not (folder / _YAML).is_file():
            raise SettingsError(f"DBT_PROJECT_DIR is {str(folder)!r}: there is no {_YAML} in it.")
        return folder
    found = _without_packages(sorted(_below(here, _DEPTH)))
    if not found:
        raise SettingsError(
            f"There is no dbt project in {here}, nor in a folder of it: no {_YAML} was found. Go to the repository of "
            "your project, or set DBT_PROJECT_DIR to the project's folder."
        )
    if len(found) > 1:
        listed = ", ".join(str(folder.relative_to(here)) for folder in found)
        raise SettingsError(f"There are several dbt projects in {here}: {listed}. Set DBT_PROJECT_DIR to one of them.")
    return found[0]


def local_packages(folder: Path) -> Iterator[Path]:
    """Yield the folders that the project's packages.yml or dependencies.yml names by `local:`."""
    for name in ("packages.yml", "dependencies.yml"):
        for entry in _mapping(folder / name).get("packages") or ():
            if isinstance(entry, dict) and isinstance(entry.get("local"), str):
                yield (folder / entry["local"]).resolve()


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """The projects in the folder; what is inside of one belongs to it."""
    if (folder / _YAML).is_file():
        yield folder
    elif depth:
        for path in folder.iterdir():
            if _may_hold_one(path):
                yield from _below(path, depth - 1)


def _may_hold_one(path: Path) -> bool:
    is_left_out = path.name.startswith(".") or path.name in _NO_PROJECTS
    # A virtual environment has dbt's own projects.
    return not is_left_out and path.is_dir() and not (path / "pyvenv.cfg").exists()


def _without_packages(projects: list[Path]) -> list[Path]:
    """Those that no other one has as a package, by `local:` or installed beside it; all where that leaves none."""
    packages = {package for project in projects for package in (*local_packages(project), *_installed(project))}
    return [one for one in projects if packages.isdisjoint((one.resolve(), *one.resolve().parents))] or projects


def _installed(folder: Path) -> Iterator[Path]:
    path = _mapping(folder / _YAML).get("packages-install-path")
    if isinstance(path, str):
        yield (folder / path).resolve()


def _mapping(file: Path) -> dict[str, Any]:
    """What a file has; nothing where it has no YAML or is not there: dbt says that in its own words."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
