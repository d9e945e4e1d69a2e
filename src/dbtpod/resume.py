"""The beginning of a run, or its going on where an earlier pod of it was stopped.

A run that is started again finds its working copy and its folder on the volume. They are good for going on only if
the working copy is still its own and the project is the same; otherwise everything starts over. What is left of each
command is then for `attempts` to say.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbtpod.dbt import parse_state
from dbtpod.errors import RunGivenUp
from dbtpod.settings import Settings
from dbtpod.ui import deaths
from dbtpod.warehouse import checkout, durable

# A build that kills its pod kills the next one too: with memory, for one.
MOST_STARTS = 5
_PROJECT = "project"


@dataclass(frozen=True)
class Begun:
    """A run that may begin: its folder, and whether its working copy is what is published, untouched."""

    run_dir: Path
    is_fresh: bool


def begin(settings: Settings, run_id: str, starts: int, log: logging.Logger | logging.LoggerAdapter[Any]) -> Begun:
    """Return the run's folder, with a fresh working copy or, if this run was stopped half-way, its own.

    `starts` counts this run's starts, this one included; RunGivenUp after `MOST_STARTS`.
    """
    run_dir, project = settings.runs_dir / run_id, parse_state.fingerprint(settings)
    if starts > MOST_STARTS:
        known = deaths.causes(run_id)
        raise RunGivenUp(f"This run was started {MOST_STARTS} times and its pod died each time; see {run_dir}.{known}")
    obstacle = _obstacle(settings, run_id, project) if run_dir.exists() else "not started before"
    if not obstacle:
        log.info("Start %d of this run: going on with its working copy %s", starts, settings.duckdb_path)
        return Begun(run_dir, is_fresh=False)
    if run_dir.exists():
        log.info("Start %d of this run: starting over, because %s", starts, obstacle)
        shutil.rmtree(run_dir)
    checkout.check_out(settings, run_id, log)
    with durable.volume_errors(settings.volume, 0, "the run's folder"):
        run_dir.mkdir(parents=True)
        (run_dir / _PROJECT).write_text(project)
    return Begun(run_dir, is_fresh=True)


def _obstacle(settings: Settings, run_id: str, project: str) -> str:
    if not checkout.owned_by(settings, run_id):
        return "its working copy is gone or older than what is published"
    marker = settings.runs_dir / run_id / _PROJECT
    return "" if marker.is_file() and marker.read_text() == project else "the dbt project is another than before"
