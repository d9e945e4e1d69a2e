"""What dbt says of the project, in its own words, and dbtpod of its profile."""

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from dbtpod import settings
from dbtpod.check.finding import Finding
from dbtpod.dbt.inspection import Parse
from dbtpod.dbt.project import Project

_FILE = re.compile(r"[\w./-]+\.(?:sql|ya?ml|py|csv|md)\b")
_LINE = re.compile(r"\bline (\d+)")


def prepare(folder: Path, environment: Mapping[str, str]) -> tuple[Project | None, list[Finding]]:
    """Find the project of the repository in the folder, ready to be parsed; or what keeps it from that."""
    place = _find(folder, environment.get("DBT_PROJECT_DIR"))
    if isinstance(place, Finding):
        return None, [place]
    wrong = list(_profile_findings(place))
    # Runs only open the files that it names.
    file = settings.duckdb_path(environment) or Path("/data/work/warehouse.duckdb")
    return None if wrong else Project(place, file, file), wrong


def _find(folder: Path, chosen: str | None) -> Path | Finding:
    """Find the folder with dbt_project.yml: `chosen`, which is DBT_PROJECT_DIR, or the folder, or one in it."""
    if chosen:
        return folder / chosen
    found = sorted(path.parent for path in (*folder.glob("dbt_project.yml"), *folder.glob("*/dbt_project.yml")))
    if not found:
        return Finding(None, None, f"There is no dbt_project.yml in {folder} or a folder of it: run this beside yours.")
    return found[0]


def _profile_findings(project: Path) -> Iterator[Finding]:
    """Yield what keeps dbtpod from using the profile."""
    if find_spec("dbtpod.dbt.effective_profile"):
        for text in import_module("dbtpod.dbt.effective_profile").problems(project):
            yield Finding(None, None, text)


def findings(parse: Parse, project: Path, folder: Path) -> Iterator[Finding]:
    """Yield what dbt says where it cannot parse the project, and what it warns of."""
    for texts, is_warning in ((parse.errors, False), (parse.warnings, True)):
        for text in dict.fromkeys(map(_plain, texts)):
            yield Finding(*_place(text, project, folder), text, is_warning)


def _plain(text: str) -> str:
    """Return dbt's words without its colours and tags."""
    return re.sub(r"\x1b\[\d*m|^\[WARNING\]\S*:? ", "", text).strip()


def _place(text: str, project: Path, folder: Path) -> tuple[Path | None, int | None]:
    """Find the file and the line that dbt names."""
    for name in reversed(_FILE.findall(text)):
        if (file := project / name).is_file():
            line = _LINE.search(text)
            return _beside(file, folder), int(line[1]) if line else None
    return None, None


def _beside(file: Path, folder: Path) -> Path:
    return file.relative_to(folder) if file.is_relative_to(folder) else file
