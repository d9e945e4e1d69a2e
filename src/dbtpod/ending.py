"""What becomes of a build that ended well: readers see it, a person looks at it first, or nothing is kept of it."""

from typing import get_args

from prefect import State, get_run_logger

from dbtpod.command import Dbt
from dbtpod.dbt import keys
from dbtpod.errors import SettingsError
from dbtpod.request import Result
from dbtpod.ui import kept_aside, mark, report
from dbtpod.ui.artifacts import ReportSender
from dbtpod.ui.lineage import read_parents
from dbtpod.ui.text import truncate
from dbtpod.warehouse import comparison
from dbtpod.warehouse.built import Built
from dbtpod.warehouse.comparison import Bounds, Change
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.previews import preview_name
from dbtpod.warehouse.warehouse import Kept

# What is not compared by then is left out of the report; `dbtpod generations diff` takes as long as it takes.
DIFF_SECONDS = 60.0
_ARTIFACTS = ("manifest.json", "run_results.json")
# With what is added to it, which is never cut, a state's message is no longer than 2,000 characters.
_LONGEST_STATE = 1700


class Ending:
    """What one run does with its build, and what its state says of that."""

    def __init__(self, result: Result = "publish") -> None:
        if result not in get_args(Result):
            known = ", ".join(f'"{one}"' for one in get_args(Result))
            raise SettingsError(f"run_dbt(result={result!r}): it must be one of {known}.")
        self._result = result
        self._note = ""
        # What readers see of it; None where nothing was published.
        self.published: int | None = None

    @property
    def publishes(self) -> bool:
        """Whether readers are to see the build."""
        return self._result == "publish"

    def check_reading(self) -> None:
        """SettingsError where commands that only read are to keep their build aside."""
        if self._result == "keep aside":
            raise SettingsError(
                'result="keep aside" is for a run that builds, and these commands only read: leave it out, or add a '
                "command that builds."
            )

    def check_writing(self, kept: Kept) -> None:
        """SettingsError where there is no working copy, and readers see what is built whatever becomes of it."""
        if self._result != "publish" and kept.no_copy:
            raise SettingsError(f'result="{self._result}" needs a working copy, and {kept.no_copy}')

    def apply(self, file: Built, dbt: Dbt, run_id: str) -> Generation | None:
        """Publish the build, keep it aside or discard it; return the preview that it became, if it did."""
        if not file.publishes:
            return None
        log = get_run_logger()
        certificate = dbt.certify(file, run_id)
        made = [*(dbt.target_dir / name for name in _ARTIFACTS), *dbt.records]
        preview = None
        if certificate is None:
            log.warning("Nothing is published: this run built nothing.")
            file.drop()
        elif self._result == "discard":
            log.info("Nothing is published: what this run built was to be discarded.")
            file.drop()
            self._note = "discarded, so nothing was published"
        elif self._result == "keep aside":
            if preview := file.keep_aside(certificate, made):
                self._note = _note(preview)
        elif generation := file.publish(certificate, made):
            self.published = generation.number
            mark.published(generation.run, generation.number)
            log.info("Published generation %d: %s", generation.number, file.volume.current / generation.database.name)
        return preview

    def state(self, found: State[None]) -> State[None]:
        """Add to the state what became of the build; as it is where it was published."""
        if not self._note:
            return found
        message = f"{truncate(found.message or '', _LONGEST_STATE)}; {self._note}"
        return found.model_copy(update={"message": message})


def _note(preview: Generation) -> str:
    name = preview_name(preview.number)
    compare, publish = kept_aside.commands(name)
    get_run_logger().info(
        "Kept aside as %s, which readers do not see: %s\nTo compare: %s\nTo publish: %s",
        *(name, preview.database, compare, publish),
    )
    return f"kept aside as {name}. To compare: {compare}. To publish: {publish}"


def compare(preview: Generation, kept: Kept, memory: str | None, dbt: Dbt, sender: ReportSender) -> None:
    """Add to the report how a preview differs from its base.

    Without the lock, for which the next run may wait. What goes wrong is a warning, never the run's failure.
    """
    name = preview_name(preview.number)
    found: list[Change] | str
    try:
        base = kept.publisher.generations.database(preview.base) if preview.base else None
        known = keys.read(preview.database.with_name("manifest.json"))
        found = comparison.changes(base, preview.database, known, Bounds(DIFF_SECONDS, memory))
    except Exception as error:
        found = f"How it differs is not known: {error}"
        get_run_logger().warning("%s was kept aside. %s", name, found)
    part = kept_aside.markdown(name, preview.base, found)
    sender.amend(report.markdown(dbt.report, read_parents(dbt.target_dir), dbt.reason, part, dbt.reader))
