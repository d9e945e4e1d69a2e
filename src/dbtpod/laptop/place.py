"""Where a project is on this machine, and where its data is kept."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from dbtpod import settings
from dbtpod.dbt import effective_profile, kept_state, packages, project
from dbtpod.dbt.project import Project
from dbtpod.errors import SettingsError
from dbtpod.warehouse.volume import Volume

_VERSION = "dbtpod-prefect-version"


@dataclass(frozen=True)
class Place:
    """A user's repository, with the data of its runs."""

    # Holds prefect.yaml; entrypoints are relative to it.
    repository: Path
    volume: Volume
    # Of Prefect's server: its database and its settings.
    prefect: Path

    @property
    def prefect_yaml(self) -> Path:
        """Where the deployments are, if there are any."""
        return self.repository / "prefect.yaml"

    def shown(self, path: Path) -> str:
        """Return a path as a person in the repository types it."""
        return str(path.relative_to(self.repository) if path.is_relative_to(self.repository) else path)

    @property
    def variables(self) -> str:
        """What a person types before a command for it to have this data; empty where that is the usual place."""
        usual = Path(settings.environment()["DBT_PROJECT_DIR"]) / project.MADE / "data"
        return "" if self.volume.root == usual else f"DBTPOD_VOLUME={self.volume.root} "

    def has_migrated(self) -> bool:
        """Return whether the database is of the Prefect that is installed: Prefect takes half a second to see that."""
        mark = self.prefect / _VERSION
        is_same = mark.is_file() and mark.read_text() == version("prefect")
        return is_same and (self.prefect / "prefect.db").is_file()

    def note_migrated(self) -> None:
        """Note that a server of the installed Prefect has started on the database."""
        (self.prefect / _VERSION).write_text(version("prefect"))


def enter(folder: Path | None) -> Place:
    """Find the project of the folder, make its data's folder, and have this process and its children know of both.

    Call it before Prefect is imported, which reads its settings then. SettingsError where there is no project.
    """
    repository = Path(folder or "").absolute()
    if not repository.is_dir():
        raise SettingsError(f"There is no folder {repository}: give the folder of your repository.")
    os.chdir(repository)
    given = settings.environment()
    dbt_project = project.find(given, repository)
    if made := effective_profile.refresh(dbt_project, given):
        for note in made.notes:
            print(note)
    variables = _variables(dbt_project, given)
    settings.add_to_environment(variables)
    place = Place(repository, Volume(settings.from_environment().duckdb_path), Path(variables["PREFECT_HOME"]))
    place.prefect.mkdir(parents=True, exist_ok=True)
    return place


def prepare(project: Project) -> Path:
    """Install the project's packages where they are missing, and have what dbt parses kept; return our own folder."""
    with tempfile.TemporaryDirectory() as folder:
        if done := packages.install(project, Path(project.folder.anchor), Path(folder)):
            print(done)
    return kept_state.prepare(project)


def _variables(dbt_project: Path, given: Mapping[str, str]) -> dict[str, str]:
    volume = Path.cwd() / (given.get("DBTPOD_VOLUME") or dbt_project / project.MADE / "data")
    if given.get("DUCKDB_PATH"):
        volume = Path(given["DUCKDB_PATH"]).parent.parent
    return {
        "DBT_PROJECT_DIR": str(dbt_project),
        "DBTPOD_VOLUME": str(volume),
        "PREFECT_HOME": given.get("PREFECT_HOME") or str(volume / "prefect"),
        # Nothing here needs a network beyond this machine.
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
