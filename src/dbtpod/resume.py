"""The beginning of a run, or its resuming where an earlier pod of it was stopped.

A run that is started again finds its working copy and its folder on the volume. They are good for resuming only if
the working copy is still its own and the project is the same; otherwise everything restarts. What is left of each
command is then for `attempts` to say.
"""

import shutil
from pathlib import Path

from dbtpod.dbt import parse_state
from dbtpod.dbt.project import Project
from dbtpod.errors import RunGivenUp
from dbtpod.ui import deaths
from dbtpod.warehouse.volume import Log
from dbtpod.warehouse.working_copy import BuiltFile

# A build that kills its pod kills the next one too: with memory, for one.
MOST_STARTS = 5
_PROJECT = "project"


def begin(file: BuiltFile, project: Project, run_id: str, starts: int, log: Log) -> Path:
    """Have `file` ready for the run, fresh or, if this run was stopped half-way, its own; return the run's folder.

    `starts` counts this run's starts, this one included; RunGivenUp after `MOST_STARTS`.
    """
    run_dir, fingerprint = file.volume.runs / run_id, parse_state.fingerprint(project)
    if starts > MOST_STARTS:
        known = deaths.causes(run_id)
        raise RunGivenUp(f"This run was started {MOST_STARTS} times and its pod died each time; see {run_dir}.{known}")
    obstacle = _obstacle(file, run_dir, fingerprint) if run_dir.exists() else "not started before"
    if not obstacle:
        log.info("Start %d of this run: resuming with its working copy %s", starts, file.path)
        file.go_on()
        return run_dir
    if run_dir.exists():
        log.info("Start %d of this run: restarting, because %s", starts, obstacle)
        shutil.rmtree(run_dir)
    file.check_out()
    with file.volume.errors("the run's folder"):
        run_dir.mkdir(parents=True)
        (run_dir / _PROJECT).write_text(fingerprint)
    return run_dir


def _obstacle(file: BuiltFile, run_dir: Path, fingerprint: str) -> str:
    marker = run_dir / _PROJECT
    is_same = marker.is_file() and marker.read_text() == fingerprint
    return file.obstacle() or ("" if is_same else "the dbt project is another than before")
