"""Going on where an attempt stopped: what a dead pod or a lost connection left, and the dbt command that finishes it.

A run that is started again finds its working copy and its folder on the volume. They are good for going on only if
the working copy is still its own and the project is the same; otherwise everything starts over.

An attempt's exit code is written when dbt ended by itself. With 1, run_results.json is whole and `dbt retry` reads it
as it is. Without a code the flow was stopped while dbt ran: dbt then names only the nodes that it finished (measured
with 1.11), and `dbt retry` would leave out the rest, so they are added as skipped.
"""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbtpod.dbt import parse_state, process, results
from dbtpod.dbt.results import RunReport
from dbtpod.errors import RunGivenUp
from dbtpod.page import deaths
from dbtpod.settings import Settings
from dbtpod.warehouse import checkout, durable

# A build that kills its pod kills the next one too: with memory, for one.
MOST_STARTS = 5
_PROJECT = "project"
_EXIT_CODE = "exit_code"
_RUN_RESULTS = "run_results.json"
# What `dbt retry` can go on with, and the nodes that each of them runs: `dbt ls` would name others too.
_KINDS = {
    "build": ("model", "seed", "snapshot", "test", "unit_test"),
    "run": ("model",),
    "seed": ("seed",),
    "snapshot": ("snapshot",),
    "test": ("test", "unit_test"),
}


def begin(settings: Settings, run_id: str, starts: int, log: logging.Logger | logging.LoggerAdapter[Any]) -> Path:
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
        return run_dir
    if run_dir.exists():
        log.info("Start %d of this run: starting over, because %s", starts, obstacle)
        shutil.rmtree(run_dir)
    checkout.check_out(settings, run_id, log)
    with durable.room(settings.volume, 0, "the run's folder"):
        run_dir.mkdir(parents=True)
        (run_dir / _PROJECT).write_text(project)
    return run_dir


def _obstacle(settings: Settings, run_id: str, project: str) -> str:
    if not checkout.owned_by(settings, run_id):
        return "its working copy is gone or older than what is published"
    marker = settings.runs_dir / run_id / _PROJECT
    return "" if marker.is_file() and marker.read_text() == project else "the dbt project is another than before"


@dataclass(frozen=True)
class Attempt:
    """One run of a dbt command, in this pod or in one before it."""

    target_dir: Path
    exit_code: int | None  # None: the flow was stopped or killed while dbt ran
    results: Mapping[str, Any] | None  # run_results.json

    @property
    def report(self) -> RunReport | None:
        """What it did, as its artifacts say."""
        return results.read(self.target_dir, self.results["metadata"]["invocation_id"]) if self.results else None


def attempts(folder: Path) -> list[Attempt]:
    """Return the attempts of one command, the oldest first."""
    folders = sorted(folder.glob("attempt-*"), key=lambda path: int(path.name.removeprefix("attempt-")))
    return [_read(path) for path in folders]


def record(target_dir: Path, exit_code: int) -> None:
    """Note that dbt ended by itself, and how."""
    (target_dir / _EXIT_CODE).write_text(str(exit_code))


def command(settings: Settings, args: Sequence[str], options: Sequence[str], last: Attempt) -> list[str] | None:
    """Return the `dbt retry` that finishes `last`; None where it left nothing that dbt can go on from."""
    if args[0] not in _KINDS or last.results is None or not last.results["results"]:
        return None
    if last.exit_code != 1:
        selected = _selected(settings, last.results["args"], options, last.target_dir)
        (last.target_dir / _RUN_RESULTS).write_text(json.dumps(completed(last.results, selected)))
    return ["retry", "--state", str(last.target_dir), *options]


def completed(found: Mapping[str, Any], selected: Iterable[str]) -> dict[str, Any]:
    """Return run results in which each selected node that has none is skipped, so that `dbt retry` runs it."""
    done = {result["unique_id"] for result in found["results"]}
    skipped: list[dict[str, Any]] = [
        {
            "unique_id": node_id,
            "status": "skipped",
            "timing": [],
            "thread_id": "",
            "execution_time": 0.0,
            "adapter_response": {},
            "message": "The run was stopped before this node ended.",
            "failures": None,
            "compiled": None,
            "compiled_code": None,
            "relation_name": None,
        }
        for node_id in selected
        if node_id not in done
    ]
    return {**found, "results": [*found["results"], *skipped]}


def _read(target_dir: Path) -> Attempt:
    code = target_dir / _EXIT_CODE
    # Empty where the volume was full.
    ended = code.read_text() if code.is_file() else ""
    try:
        found = json.loads((target_dir / _RUN_RESULTS).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        found = None
    return Attempt(target_dir, int(ended) if ended else None, found)


def _selected(settings: Settings, args: Mapping[str, Any], options: Sequence[str], target_dir: Path) -> list[str]:
    """Ask dbt which nodes the command of these run results selects."""
    selection = [*options]
    for name in ("select", "exclude"):
        selection += [f"--{name}", *args[name]] if args.get(name) else []
    for name in ("selector", "indirect_selection"):
        selection += [f"--{name.replace('_', '-')}", args[name]] if args.get(name) else []
    kinds = args.get("resource_types") or _KINDS[args["which"]]
    for kind in set(kinds) - set(args.get("exclude_resource_types") or ()):
        selection += ["--resource-type", kind]
    listing = ["--quiet", "--log-format", "text", "ls", "--output", "json", "--output-keys", "unique_id", *selection]
    with process.start(listing, settings, target_dir) as dbt:
        return [json.loads(line)["unique_id"] for line in dbt.lines() if line.startswith('{"unique_id"')]
