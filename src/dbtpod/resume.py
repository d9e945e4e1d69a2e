"""The beginning of a run, or its resuming where an earlier pod of it, or an earlier run, left something to build on.

A run that is started again finds its working copy and its folder on the volume. They are good for resuming only if
the working copy is still its own and begins from what is published. Where the project is another, `continuing` looks
what of it is good still; otherwise everything restarts. What is left of each command is then for `attempts` to say.
"""

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from dbtpod import continuing
from dbtpod.dbt import kept_state, parse_state, process, variables
from dbtpod.dbt.changes import NotContinued
from dbtpod.dbt.project import Project
from dbtpod.errors import RunGivenUp, SettingsError
from dbtpod.ui import deaths
from dbtpod.warehouse import durable
from dbtpod.warehouse.built import Built
from dbtpod.warehouse.volume import Log, Volume

# A build that kills its pod kills the next one too: with memory, for one.
MOST_STARTS = 5
# Of the files in a run's folder.
_PROJECT = "project"
_COMMANDS = "commands.json"
_STARTS = "starts"
# What dbt does not see as a change of any node: variables, hooks, the connection.
_SETTINGS = ("dbt_project.yml", "packages.yml", "dependencies.yml", "package-lock.yml")
# What may read an environment variable for a node.
_TEXTS = (".sql", ".py", ".yml", ".yaml")
_NO_NODES = {*_SETTINGS, "profiles.yml"}


def begin(file: Built, project: Project, run_id: str, log: Log, continues: str | None = None) -> Path:
    """Have `file` ready for the run, fresh or with what was built before; return the run's folder.

    That is what this run built, if it was stopped half-way or failed, or else what the run `continues` built.
    RunGivenUp where the run was started `MOST_STARTS` times and its pod died each time.
    """
    run_dir = file.volume.runs / run_id
    starts = _count(run_dir, run_id)
    earlier = continues if continues and not run_dir.exists() else None
    if earlier and (obstacle := _take_over(file, earlier, run_dir)):
        log.info("The run %s cannot be continued, so this run restarts: %s", earlier, obstacle)
    file.bring_back(run_id)
    stamps = _stamps(project)
    obstacle = _obstacle(file, project, run_dir, stamps, log) if run_dir.exists() else "not started before"
    if not obstacle:
        log.info("%s, with %s", _resumes(earlier, starts), file.name)
        file.go_on()
    else:
        if run_dir.exists():
            log.info("%s: restarting, because %s", _resumes(earlier, starts), obstacle)
            shutil.rmtree(run_dir)
        file.check_out()
    with file.volume.errors("the run's folder"):
        run_dir.mkdir(parents=True, exist_ok=True)
        durable.write_json(run_dir / _PROJECT, stamps)
        (run_dir / _STARTS).write_text(str(starts))
    return run_dir


def ended(run_dir: Path) -> None:
    """Note that this start of the run ended by itself, well or not: no pod died of it."""
    (run_dir / _STARTS).unlink(missing_ok=True)


def note_commands(run_dir: Path, commands: Sequence[Sequence[str]]) -> None:
    """Keep what the run is to do, for a run that continues it."""
    durable.write_json(run_dir / _COMMANDS, {"commands": [list(words) for words in commands]})


def commands_of(volume: Volume, run_id: str) -> list[list[str]]:
    """Return the dbt commands of an earlier run; SettingsError where there is nothing of it to continue."""
    try:
        text = (volume.runs / str(UUID(run_id)) / _COMMANDS).read_text()
    except ValueError as error:
        raise SettingsError(f"{run_id!r} is no flow run id: copy it from the Prefect UI.") from error
    except OSError as error:
        raise SettingsError(
            f"There is no flow run {run_id} to continue on {volume.root}: it only read, or it was long ago. Run its "
            "deployment again."
        ) from error
    found: list[list[str]] = json.loads(text)["commands"]
    return found


def _count(run_dir: Path, run_id: str) -> int:
    """Return which start this is since the last one that ended by itself."""
    file = run_dir / _STARTS
    starts = (int(file.read_text() or 0) if file.is_file() else 0) + 1
    if starts > MOST_STARTS:
        known = deaths.causes(run_id)
        raise RunGivenUp(f"This run was started {MOST_STARTS} times and its pod died each time; see {run_dir}.{known}")
    return starts


def _resumes(earlier: str | None, starts: int) -> str:
    return f"Continuing the run {earlier}" if earlier else f"Start {starts} of this run"


def _take_over(file: Built, earlier: str, run_dir: Path) -> str:
    """Make the working copy and the records of an earlier run this run's own; why that cannot be, or empty."""
    source = file.volume.runs / earlier
    if not source.is_dir():
        return "its records are gone"
    if obstacle := file.take_over(earlier):
        return obstacle
    with file.volume.errors("the records of the run that is continued"):
        fresh = run_dir.with_name(f".{run_dir.name}.tmp")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh)
        (fresh / _STARTS).unlink(missing_ok=True)
        fresh.rename(run_dir)
    return ""


def _obstacle(file: Built, project: Project, run_dir: Path, stamps: dict[str, Any], log: Log) -> str:
    """Say why the run has to restart; empty where it does not, with what changed in the project noted."""
    if found := file.obstacle():
        return found
    try:
        before: dict[str, Any] = json.loads((run_dir / _PROJECT).read_text())
    except (OSError, ValueError):
        return "the record of its project cannot be read"
    if before == stamps:
        return ""
    if before.get("dbtpod") != stamps["dbtpod"]:
        return "dbtpod is of another version"
    if before.get("settings") != stamps["settings"]:
        return f"{_SETTINGS[0]}, the packages or the profile are others than before"
    known: dict[str, str] = before.get("variables") or {}
    others = [name for name, value in stamps["variables"].items() if known.get(name, value) != value]
    try:
        found_changes = continuing.judge(project, run_dir, others)
    except NotContinued as error:
        return f"the dbt project is another than before: {error}"
    found_changes.write()
    if others:
        log.info("Environment variables that the project reads have other values: %s", ", ".join(others))
    log.info("%s", found_changes.text)
    return ""


def _stamps(project: Project) -> dict[str, Any]:
    settings, environment = hashlib.sha256(), process.environment(project, project.folder)
    written = [project.folder / name for name in _SETTINGS]
    for path in (*written, project.profiles_dir / "profiles.yml"):
        settings.update(path.read_bytes() if path.is_file() else b"\0")
    # Not the profile's: a password may be another in each pod.
    read = variables.digests(filter(Path.is_file, written), environment)
    settings.update(json.dumps(read).encode())
    texts = (path for path in kept_state.files(project) if path.suffix in _TEXTS and path.name not in _NO_NODES)
    return {
        "parsed": parse_state.fingerprint(project) + kept_state.stamp(project),
        "settings": settings.hexdigest(),
        "variables": variables.digests(texts, environment),
        "dbtpod": importlib.metadata.version("dbtpod"),
    }
