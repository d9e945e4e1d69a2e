"""The dbt project: where it is, and the files that its targets open, which each dbt command is started with."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dbtpod.errors import SettingsError

FILE = "dbt_project.yml"
# They hold projects that are not the user's: packages, and the starter project in dbt's own installation.
_PASSED_OVER = {"dbt_modules", "dbt_packages", "node_modules", "site-packages", "target"}


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


def find(folder: Path, environment: Mapping[str, str]) -> Path:
    """Find the dbt project of a repository: DBT_PROJECT_DIR, else the folder itself, else the one project below it.

    A project that another one takes as a package is not meant. SettingsError lists what was found instead.
    """
    if chosen := environment.get("DBT_PROJECT_DIR"):
        if not (folder / chosen / FILE).is_file():
            raise SettingsError(f"DBT_PROJECT_DIR is {chosen!r}: there is no {FILE} in {folder / chosen}.")
        return folder / chosen
    found = list(_projects(folder))
    packages = {package for project in found for package in _packages(project)}
    meant = [each for each in found if packages.isdisjoint({each.resolve(), *each.resolve().parents})] or found
    if not found:
        raise SettingsError(
            f"There is no {FILE} in {folder.absolute()} or in a folder below it. Go to the folder of your dbt project, "
            "or set DBT_PROJECT_DIR to it."
        )
    if len(meant) > 1:
        places = "\n".join(f"  {each.relative_to(folder)}" for each in meant)
        raise SettingsError(
            f"There are {len(meant)} dbt projects below {folder.absolute()}:\n{places}\n"
            f"Go to the folder of one of them, or set DBT_PROJECT_DIR: DBT_PROJECT_DIR={meant[0].relative_to(folder)}"
        )
    return meant[0]


def local_packages(project: Path) -> Iterator[Path]:
    """Yield the folders that packages.yml or dependencies.yml names by `local:`."""
    for name in ("packages.yml", "dependencies.yml"):
        for entry in _mapping(project / name).get("packages") or ():
            if isinstance(entry, dict) and isinstance(entry.get("local"), str):
                yield (project / entry["local"]).resolve()


def _projects(folder: Path) -> Iterator[Path]:
    for place, names, files in os.walk(folder):
        if FILE in files:
            yield Path(place)
        if FILE in files or "pyvenv.cfg" in files:
            names.clear()
        names[:] = sorted(name for name in names if name not in _PASSED_OVER and not name.startswith("."))


def _packages(project: Path) -> Iterator[Path]:
    installed = _mapping(project / FILE).get("packages-install-path")
    if isinstance(installed, str):
        yield (project / installed).resolve()
    yield from local_packages(project)


def _mapping(file: Path) -> dict[str, Any]:
    """What a file has; nothing where there is no such file, or no YAML in it: dbt says that in its own words."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
