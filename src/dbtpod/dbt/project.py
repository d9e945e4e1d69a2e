"""A dbt project: where it is, what `dbtpod bake` made of its profile, and what each dbt command is started with.

<project>/.dbtpod/              made by us; a `.gitignore` keeps it out of the user's repository
├── project.json                Facts
├── writer/profiles.yml         the effective profile of a run that writes (`effective_profile`)
├── writer/<target>/            what dbt parsed with it, for each target (`parse_state`)
├── reader/                     the same, of a run that only reads
├── parsed/                     what dbt parsed last on this machine (`kept_state`)
└── data/                       the volume of runs on this machine, unless it has another one (`laptop`)
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dbtpod.dbt import arguments, yaml_file
from dbtpod.dbt.rendering import Renderer
from dbtpod.errors import SettingsError

MADE = ".dbtpod"
# The folders in it, for runs that write and for those that only read.
WRITER, READER = "writer", "reader"
# The DuckDB file's name where the user's profile names none.
CATALOG = "warehouse"
DUCKDB = "duckdb"
# In place of it, for a target of dbt-duckdb whose models are in a DuckLake.
DUCKLAKE = "ducklake"
_YAML = "dbt_project.yml"
_NO_PROJECTS = {"dbt_packages", "dbt_modules", "target", "node_modules"}
_DEPTH = 3
# Of what is in .dbtpod: what another version made is made again.
_FORMAT = 1


@dataclass(frozen=True)
class Target:
    """A target of the effective profile."""

    adapter: str
    # The catalog that its models are in, which is the name of its DuckDB file.
    catalog: str = CATALOG


@dataclass(frozen=True)
class Facts:
    """What is known of a project since its effective profile was made."""

    profile: str
    # As the profile has it, so it may be Jinja; None where it names no target, which is dbt's `default`.
    target: str | None
    targets: Mapping[str, Target]
    # Whether dbt_project.yml names the profile; else dbt is given its name.
    is_named: bool
    # The files that it was made from, by their path beside the project's folder, with a digest of each.
    sources: Mapping[str, str]

    def default(self, environment: Mapping[str, str]) -> str | None:
        """Return the target of a command that names none; None where only a pod can tell."""
        try:
            return arguments.variable(environment, "TARGET") or Renderer(environment)(self.target or "default")
        except Exception:  # whatever a template of the user may raise
            return next(iter(self.targets)) if len(self.targets) == 1 else None

    def text(self) -> str:
        """Give it as the file has it."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n"


@dataclass(frozen=True)
class Project:
    """A dbt project of this image or machine, as a dbt command sees it."""

    # Holds dbt_project.yml.
    folder: Path
    # The file that a run builds on: DUCKDB_PATH.
    writes: Path
    # The file that a reading run opens: DBTPOD_READABLE_PATH.
    reads: Path
    # What DuckDB may use, as it writes it ("1400MB"); None leaves it to DuckDB.
    memory_limit: str | None = None
    # Whether its commands open `reads`, and that read-only.
    only_reads: bool = False
    # Whether its data is in a database server or a DuckLake, and in neither of these files.
    is_remote: bool = False
    # Whether it is in a DuckLake.
    is_lake: bool = False

    @property
    def profiles_dir(self) -> Path:
        """The folder of the effective profile, and of what was parsed with it."""
        return self.folder / MADE / (READER if self.only_reads else WRITER)


def find(environment: Mapping[str, str], here: Path) -> Path:
    """Return the folder of the dbt project: DBT_PROJECT_DIR, or the one in `here` or in one of its subfolders.

    A project that another one has as a package is left out. SettingsError where there is none or more than one.
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


def facts(folder: Path) -> Facts | None:
    """Read what is known of the project; None where its effective profile was not made, or by another version."""
    try:
        found = json.loads((folder / MADE / "project.json").read_text())
        if found.pop("format") != _FORMAT:
            return None
        targets = {name: Target(**target) for name, target in found.pop("targets").items()}
        return Facts(**found, targets=targets)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def catalog(folder: Path, environment: Mapping[str, str]) -> str | None:
    """Return the name of the DuckDB file without its suffix; None where the effective profile was not made."""
    known = facts(folder)
    if known is None:
        return None
    # Where there is no such target, dbt says so.
    return known.targets.get(known.default(environment) or "", Target(DUCKDB)).catalog


def local_packages(folder: Path) -> Iterator[Path]:
    """Yield the folders that the project's packages.yml or dependencies.yml names by `local:`."""
    for name in ("packages.yml", "dependencies.yml"):
        for entry in yaml_file.mappings(yaml_file.load(folder / name), "packages"):
            if isinstance(entry.get("local"), str):
                yield (folder / entry["local"]).resolve()


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the projects in the folder; what is inside of one belongs to it."""
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
    """Return those that no other one has as a package, by `local:` or installed; all where that leaves none."""
    if len(projects) == 1:
        return projects
    packages = {package for project in projects for package in (*local_packages(project), *_installed(project))}
    return [one for one in projects if packages.isdisjoint((one.resolve(), *one.resolve().parents))] or projects


def _installed(folder: Path) -> Iterator[Path]:
    content = yaml_file.load(folder / _YAML)
    path = content.get("packages-install-path") if isinstance(content, dict) else None
    if isinstance(path, str):
        yield (folder / path).resolve()
