"""What dbt says of the project, in its own words, and dbtpod of its profile."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dbtpod import settings
from dbtpod.check.finding import Finding
from dbtpod.dbt import effective_profile
from dbtpod.dbt import project as dbt_project
from dbtpod.dbt.inspection import Parse
from dbtpod.dbt.project import Project
from dbtpod.errors import SettingsError

_FILE = re.compile(r"[\w./-]+\.(?:sql|ya?ml|py|csv|md)\b")
_LINE = re.compile(r"\bline (\d+)")


def prepare(folder: Path, environment: Mapping[str, str]) -> tuple[Project | None, list[Finding]]:
    """Find the project of the repository in the folder, ready to be parsed; or what keeps it from that."""
    try:
        place = dbt_project.find(environment, folder)
    except SettingsError as error:
        return None, [Finding(None, None, str(error))]
    if wrong := effective_profile.problems(place, environment):
        return None, [Finding(None, None, text) for text in wrong]
    # dbt parses it as runs do.
    effective_profile.refresh(place, environment)
    catalog = dbt_project.catalog(place, environment) or dbt_project.CATALOG
    # Runs only open the files that it names.
    file = settings.duckdb_path(environment) or Path(f"/data/work/{catalog}.duckdb")
    return Project(place, file, file), []


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
