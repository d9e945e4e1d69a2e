"""Whether a run continues with its working copy where the project is another than before.

Somebody fixes the model that failed, builds an image and runs it again. What was built stays; what failed, what was
skipped and what has changed since is built, with all that depends on it. Where that would leave something else than a
build from nothing, the run restarts, and says why.
"""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from dbtpod import plan
from dbtpod.dbt import arguments, changes, listing, process, record
from dbtpod.dbt.changes import NotContinued
from dbtpod.dbt.project import Project
from dbtpod.dbt.record import GOOD, Attempt, Change, History
from dbtpod.errors import DbtUnusable
from dbtpod.ui.text import first_of
from dbtpod.warehouse import durable

_MOST_NAMED = 10


@dataclass(frozen=True)
class Continued:
    """What became another for a run, command by command."""

    # By the folder of the command.
    changes: dict[Path, Change]
    modified: frozenset[str]

    @property
    def text(self) -> str:
        """Say what changed, for the run's log."""
        shown = first_of(sorted(self.modified), ", ", _MOST_NAMED) or "no node"
        again = sum(len(change.void) for change in self.changes.values())
        return f"Of the project has changed: {shown}. Nodes that had ended well and run again: {again}"

    def write(self) -> None:
        """Keep it with the records of the commands."""
        for folder, change in self.changes.items():
            durable.write_json(folder / change.name, change.as_json())


def judge(project: Project, run_dir: Path, variables: Collection[str] = ()) -> Continued:
    """Look what the project as it is now makes of the commands of a run; NotContinued where it has to restart.

    `variables` are the environment variables that the project reads and that have other values than before.
    """
    found: dict[Path, Change] = {}
    modified: set[str] = set()
    for folder in sorted(path for path in run_dir.glob("*-*") if path.is_dir()):
        history = record.history(folder)
        if any(attempt.has_begun for attempt in history.counted):
            args = _args(history)
            if arguments.parse(args).verb in arguments.READING:
                continue
            found[folder], others = _change(project, folder, history, args, variables)
            modified |= others
    return Continued(found, frozenset(modified))


def _args(history: History) -> tuple[str, ...]:
    args = history.counted[-1].args
    if args is None:
        raise NotContinued("the record of an attempt cannot be read")
    verb = arguments.parse(args).verb
    if verb not in arguments.KINDS and verb not in arguments.READING:
        raise NotContinued(f"{arguments.text(args)} does not run node by node")
    return args


def _change(
    project: Project, folder: Path, history: History, args: tuple[str, ...], variables: Collection[str]
) -> tuple[Change, frozenset[str]]:
    text = arguments.text(args)
    newest = [attempt for attempt in history.counted if attempt.has_begun][-1]
    before = changes.read(newest.target_dir)
    after = len(history.attempts)
    target = folder / f"project-{after}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    modified = frozenset(_modified(project, args, newest.target_dir, target))
    now = changes.read(target)
    modified |= changes.by_variables(before, now, variables)
    planned = _known_plan(project, args, history, (newest, before), now)
    if planned is None:
        planned = _listed(project, args, target)
        _check_plan(text, history, before, now, planned, modified)
    # The lists are of what is there now: the rest of the folder was for dbt.
    shutil.rmtree(target, ignore_errors=True)
    ended = history.settled()
    good = {node_id for node_id, status in ended.items() if status in GOOD}
    void = changes.void(before, now, modified, good, planned - good, variables)
    if history.attempts[-1].exit_code != 0 and not planned - (good - void):
        raise NotContinued(f"nothing of {text} is left to run, and yet it had not ended well")
    return Change(after, planned, void), modified


def _known_plan(
    project: Project,
    args: tuple[str, ...],
    history: History,
    newest: tuple[Attempt, changes.Manifest],
    now: changes.Manifest,
) -> frozenset[str] | None:
    """Return the plan of the attempt that ran the command from its beginning, if it is that of the project now.

    `newest` is the newest attempt that has begun, with its manifest: mostly that one.
    """
    whole = history.counted[0]
    environment = process.environment(project, whole.target_dir)
    looks_elsewhere = arguments.parse(args).last("--state") or arguments.variable(environment, "STATE")
    if history.change or looks_elsewhere or not whole.has_begun:
        return None
    known = plan.by_results(whole)
    if known is None:
        return None
    before = newest[1] if newest[0] is whole else changes.read(whole.target_dir)
    return known if changes.selects_alike(before, now) else None


def _listed(project: Project, args: tuple[str, ...], target: Path) -> frozenset[str]:
    try:
        return plan.listed(project, args, target)
    except plan.PlanUnknown as error:
        raise NotContinued(str(error)) from error


def _modified(project: Project, args: tuple[str, ...], state: Path, target: Path) -> list[str]:
    try:
        return listing.ids(arguments.modified(args, str(state)), project, target)
    except listing.NotListed as error:
        # What was built stays for the next try.
        raise DbtUnusable(
            f"dbt cannot read the project as it is now. What the run has built is kept. {error}"
        ) from error


def _check_plan(
    text: str,
    history: History,
    before: changes.Manifest,
    now: changes.Manifest,
    planned: frozenset[str],
    modified: frozenset[str],
) -> None:
    """Refuse a list that leaves out what the command was to run: dbt's own plan of the project now is not known yet."""
    whole = history.counted[0]
    known = history.change.plan if history.change else plan.by_results(whole)
    if known is None:
        same = len(planned & before.nodes.keys()) == whole.total and before.nodes.keys() <= now.nodes.keys()
        if not same:
            raise NotContinued(f"it is not known which nodes {text} was to run")
        return
    dropped = sorted(node_id for node_id in known - planned if node_id in now.nodes and node_id not in modified)
    if dropped:
        raise NotContinued(f"{text} does not run {dropped[0]} any more")
