"""Whether a run is complete: the one place that says so, and the only one that makes what `publish` asks for.

Complete is a run of which every planned node and every hook ended well in its last attempt, on the run's own working
copy, which has the relations that were built. dbt's exit code 0 alone is not enough: it is that of one attempt.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dbtpod import plan
from dbtpod.dbt import arguments, record
from dbtpod.dbt.project import Project
from dbtpod.dbt.record import GOOD, History
from dbtpod.dbt.results import RunReport
from dbtpod.errors import BuildIncomplete
from dbtpod.warehouse import database
from dbtpod.warehouse.built import Built
from dbtpod.warehouse.certificate import Certificate
from dbtpod.warehouse.volume import Log
from dbtpod.warehouse.working_copy import BuiltFile

_MOST_NAMED = 10
# Commands without a plan that write to the database all the same.
WRITING = ("run-operation", "clone", "retry")
_TESTS = ("test.", "unit_test.")
_ELSEWHERE = (
    "Leave --profiles-dir out of the command, or for another database than DuckDB set warehouse.publish to false."
)


@dataclass(frozen=True)
class Command:
    """A command of the run that ended with success; `plan` is None where it runs no nodes."""

    args: tuple[str, ...]
    plan: frozenset[str] | None
    # At its end the file was still what the run had checked out: nothing was written to it.
    is_file_as_published: bool

    @property
    def has_built(self) -> bool:
        """Whether there is a build to publish.

        A command of tests alone is one where it wrote: failures that are stored, or what a hook inserts. A build that
        found nothing new is one too: readers learn by it that their data is of today.
        """
        if self.plan is None:
            return arguments.parse(self.args).verb in WRITING
        if all(node_id.startswith(_TESTS) for node_id in self.plan):
            return bool(self.plan) and not self.is_file_as_published
        return True


def command(project: Project, args: Sequence[str], history: History, is_file_as_published: bool) -> Command:
    """Return the command as done; BuildIncomplete says what its attempts, the last of which ended well, left out."""
    text = arguments.text(args)
    if arguments.parse(args).verb not in arguments.KINDS:
        return Command(tuple(args), None, is_file_as_published)
    counted = history.counted
    try:
        planned = history.change.plan if history.change else plan.of(project, counted[0])
    except plan.PlanUnknown as error:
        raise BuildIncomplete(
            f"{text} ended with success, but which nodes it was to run is not known: {error}. dbt's artifacts: "
            f"{counted[-1].target_dir}"
        ) from error
    ended = history.settled()
    missing = sorted(node_id for node_id in planned if ended.get(node_id, "never reached") not in GOOD)
    hooks = record.statuses(counted[-1].report)
    missing += sorted(name for name, status in hooks.items() if record.is_hook(name) and status not in GOOD)
    if missing:
        raise BuildIncomplete(
            f"{text} ended with success, but without {_named(missing, ended)}. "
            f"dbt's artifacts: {counted[-1].target_dir}"
        )
    return Command(tuple(args), planned, is_file_as_published)


def relations(
    file: BuiltFile, args: Sequence[str], history: History, is_certain: bool, is_written: bool, log: Log
) -> None:
    """Look for what the attempts built in the working copy; BuildIncomplete names what is not there.

    Right after the command: a later one may drop it. So may an on-run-end; then all but what is gone altogether is
    only a warning. `is_certain` is whether the profile is known to write to the file: else, what is there may be
    yesterday's.
    """
    path = file.path
    built: dict[str, tuple[str, str, str]] = {}
    for attempt in history.counted:
        built |= record.built(attempt)
    if history.change:
        built = {node_id: relation for node_id, relation in built.items() if node_id in history.change.plan}
    if not built or not path.exists():
        return
    catalog, there = database.names(path)
    ours = {node_id: (schema, name) for node_id, (of, schema, name) in built.items() if _same(of, catalog)}
    if file.publishes and not is_certain and not (ours and is_written):
        raise BuildIncomplete(
            f"{arguments.text(args)} built {_named(sorted(built), {})}, but not in {path}: the target writes "
            f"elsewhere. {_ELSEWHERE}"
        )
    missing = sorted(n for n, (schema, name) in ours.items() if (schema.lower(), name.lower()) not in there)
    if not missing:
        return
    text = f"{path} has no relation of {_named(missing, {})}, which {arguments.text(args)} built"
    hooks = any(record.is_hook(node_id) for node_id in record.statuses(history.attempts[-1].report))
    if hooks and len(missing) < len(ours):
        log.warning("%s; an on-run-end may have dropped it.", text)
        return
    raise BuildIncomplete(f"{text}: dbt wrote elsewhere, or something removed it. Nothing is published.")


def check(commands: Sequence[Command], failed: Sequence[str], report: RunReport) -> bool:
    """Return whether the run built anything; BuildIncomplete says what stands against calling it complete.

    `commands` are those that ended well, `failed` those that did not, whatever the flow made of that; `report` is
    all attempts of all of them.
    """
    ended = record.statuses(report)
    missing = sorted(node_id for node_id, status in ended.items() if status not in GOOD)
    planned = {node_id for done in commands for node_id in done.plan or ()}
    missing += sorted(planned - ended.keys())
    if missing or failed:
        without = [f"without {_named(missing, ended)}"] if missing else []
        raise BuildIncomplete(
            f"The run is not complete: {'; '.join([*(f'{name} failed' for name in failed), *without])}. "
            "Nothing is published."
        )
    return any(done.has_built for done in commands)


def certify(
    run_id: str, file: Built, commands: Sequence[Command], failed: Sequence[str], report: RunReport
) -> Certificate | None:
    """Say that the file is a complete build of the run; None where there is nothing that it built.

    BuildIncomplete as for `check`, and where the file is not the run's own. In a database server there is no file.
    """
    if not check(commands, failed, report):
        return None
    if not isinstance(file, BuiltFile):
        return Certificate(run_id)
    found = file.check()
    if found is None:
        raise BuildIncomplete(
            f"dbt made no working copy, so there is nothing to publish: its target writes elsewhere. {_ELSEWHERE}"
        )
    return Certificate(run_id, *found)


def _same(database_name: str | None, catalog: str) -> bool:
    return (database_name or catalog).lower() == catalog.lower()


def _named(node_ids: Collection[str], ended: Mapping[str, str]) -> str:
    shown = [f"{name} ({ended.get(name, 'never reached')})" if ended else name for name in list(node_ids)[:_MOST_NAMED]]
    more = [f"{len(node_ids) - _MOST_NAMED} more"] if len(node_ids) > _MOST_NAMED else []
    return ", ".join([*shown, *more])
