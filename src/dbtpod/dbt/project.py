"""The dbt project, and the files that its targets open: what each dbt command is started with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

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

    SettingsError where there is none or more than one.
    """
    if given := environment.get("DBT_PROJECT_DIR"):
        folder = (here / given).resolve()
        if not (folder / _YAML).is_file():
            raise SettingsError(f"DBT_PROJECT_DIR is {str(folder)!r}: there is no {_YAML} in it.")
        return folder
    found = sorted(_below(here, _DEPTH))
    if not found:
        raise SettingsError(
            f"There is no dbt project in {here}, nor in a folder of it: no {_YAML} was found. Go to the repository of "
            "your project, or set DBT_PROJECT_DIR to the project's folder."
        )
    if len(found) > 1:
        listed = ", ".join(str(folder.relative_to(here)) for folder in found)
        raise SettingsError(f"There are several dbt projects in {here}: {listed}. Set DBT_PROJECT_DIR to one of them.")
    return found[0]


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / _YAML).is_file():
        yield folder
        return
    for each in folder.iterdir() if depth else ():
        is_other = each.name in _NO_PROJECTS or each.name.startswith(".") or (each / "pyvenv.cfg").exists()
        if each.is_dir() and not is_other:
            yield from _below(each, depth - 1)
