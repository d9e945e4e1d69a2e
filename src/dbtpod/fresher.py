"""The ready flow that builds what has new data, and publishes nothing where no source has newer rows.

entrypoint: dbtpod.fresher.build_if_fresher
parameters:
  minimum_interval_minutes: 60

A generation has in its sources.json how new the rows of each source were that it was built from. The flow asks dbt for
the times of now, in the published warehouse and without the lock, and builds what is built on the sources that are
newer. What others publish takes over the record of its base, so that it never claims rows that were not built.

A source without `loaded_at_field` and `freshness` has no time. It never starts a build, or each run would be one; but
whatever starts one, what is built on such a source is built too, as it may be newer.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from prefect import State, flow, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from dbtpod import settings
from dbtpod.command import Dbt, Retries
from dbtpod.dbt import source_times
from dbtpod.dbt.node import name_of
from dbtpod.errors import SettingsError
from dbtpod.run import reading, writing
from dbtpod.ui.lineage import read_parents
from dbtpod.ui.text import duration, first_of, truncate
from dbtpod.warehouse import durable, warehouse
from dbtpod.warehouse.generations import Generations
from dbtpod.warehouse.warehouse import InPlace

# Of the run's folder for what it reads, beside the one for what it builds.
_SUFFIX = "-freshness"
_PLAN = "plan.json"
_MOST_NAMED = 3
_LONGEST_STATE = 1900


@flow(
    name="dbt-build-if-fresher",
    description="Asks how new each source's newest row is, and builds what is built on the sources that are newer than "
    "when they were last built from. With nothing newer it publishes nothing.",
)
def build_if_fresher(
    minimum_interval_minutes: Annotated[float, Field(ge=0, title="Minimum interval in minutes")] = 0,
    tolerance_minutes: Annotated[float, Field(ge=0, title="Tolerance in minutes")] = 0,
    select: Annotated[
        list[str] | None, Field(min_length=1, title="Sources", examples=[["source:shop.raw_orders"]])
    ] = None,
    retries: Annotated[int, Field(ge=0, title="Retries")] = 0,
    retry_delay_seconds: Annotated[float, Field(ge=0, title="Retry delay in seconds")] = 0,
) -> State[None]:
    # Prefect's form of a custom run shows these texts, and reads them nowhere else.
    """Build what is built on sources with newer rows.

    Args:
        minimum_interval_minutes: Nothing is even looked at while what is published is younger than this.
        tolerance_minutes: A source is newer if its newest row is newer than the recorded one by more than this.
        select: The sources to look at, as in `dbt source freshness --select`. All, where it is empty.
        retries: How often a command is tried again after a lock or a connection error.
        retry_delay_seconds: The pause before each of these tries.
    """
    kept = warehouse.of(settings.from_environment())
    if isinstance(kept, InPlace):
        raise SettingsError(
            "Build if fresher compares with what a generation recorded, and with warehouse.publish false "
            "(DBTPOD_PUBLISH=false) there is none: build by a schedule."
        )
    tries = Retries(retries, retry_delay_seconds)
    if not kept.generations.entries():
        return _build(_Plan(None, [], "nothing was published before"), tries, None)
    folder = kept.volume.runs / f"{flow_run.id}{_SUFFIX}"
    base = kept.generations.pointer().number
    plan = _begun(folder, base)
    if plan is None:
        if young := _too_young(kept.generations, base, timedelta(minutes=minimum_interval_minutes)):
            return Completed(message=young)
        recorded = None if base is None else kept.generations.folder(base) / source_times.FILE
        with reading(tries, _SUFFIX) as dbt:
            # That a source is stale is no failure here, and has an event of its own; that one cannot be asked is.
            dbt.may_be_stale = True
            dbt("source", "freshness", *(["--select", *select] if select else []))
            asked = dbt.target_dir / source_times.FILE
            before = source_times.read(recorded)
            found, timeless = _to_compare(dbt, select or [])
            newer = source_times.newer(found, before, timedelta(minutes=tolerance_minutes))
            dbt.reason = _reason(found, before, newer, timeless)
        if not newer:
            return Completed(message=dbt.reason)
        plan = _Plan(base, [source_times.selector(source) for source in (*newer, *timeless)], dbt.reason)
        with kept.volume.errors("the comparison of sources"):
            folder.mkdir(parents=True, exist_ok=True)
            durable.write_json(folder / source_times.FILE, source_times.record(asked, recorded, newer))
            durable.write_json(folder / _PLAN, asdict(plan))
    return _build(plan, tries, folder / source_times.FILE)


@dataclass(frozen=True)
class _Plan:
    """What is built on which generation, and why."""

    base: int | None
    # What dbt is given; all, where it is empty.
    select: list[str]
    reason: str


def _begun(folder: Path, base: int | None) -> _Plan | None:
    """Return what an earlier pod of this run began to build; None where it did not, or not on this generation.

    To ask again would record rows that came after some of the models were built.
    """
    try:
        plan = _Plan(**json.loads((folder / _PLAN).read_text()))
    except (OSError, TypeError, ValueError):
        return None
    return plan if plan.base == base else None


def _too_young(generations: Generations, base: int | None, least: timedelta) -> str:
    """Say that what is published is younger than the minimum interval; "" where it is not."""
    found = generations.read(base) if base is not None else None
    age = datetime.now(UTC) - found[0].at if found else least
    if age >= least:
        return ""
    limits = [duration(each.total_seconds()) for each in (age, least)]
    return f"nothing new was looked for: generation {base} is {limits[0]} old, and the minimum interval is {limits[1]}"


def _to_compare(dbt: Dbt, select: Sequence[str]) -> tuple[source_times.Times, list[str]]:
    """Return the times of the sources that are built on, and the names of those that have none."""
    parents = read_parents(dbt.target_dir)
    built_on = source_times.built_on(parents)
    found = source_times.read(dbt.target_dir / source_times.FILE)
    found = {source: at for source, at in found.items() if source in built_on or not parents}
    if not found:
        raise SettingsError(
            f"There is nothing to compare: no source {'of ' + ' '.join(select) if select else 'of the project'} that a "
            "model is built on has both loaded_at_field and freshness. Give them to those that tell when there is new "
            "data."
        )
    # Of those that `select` leaves out it is not known whether they have a time.
    return found, [] if select else sorted(built_on - found.keys())


def _reason(
    found: source_times.Times, before: source_times.Times, newer: Sequence[str], timeless: Sequence[str]
) -> str:
    if newer:
        said = [
            f"{name_of(source)} has rows of {source_times.text(found[source])}, "
            + (f"and had of {source_times.text(before[source])}" if source in before else "and had none on record")
            for source in newer
        ]
        along = f"; built along, as they have no time: {_first(timeless)}" if timeless else ""
        return f"newer: {first_of(said, '; ', _MOST_NAMED)}{along}"
    newest = max(found, key=lambda source: found[source])
    left_out = f"; not compared, as they have no time: {_first(timeless)}" if timeless else ""
    return (
        f"nothing new: the newest row is of {source_times.text(found[newest])}, in {name_of(newest)}; compared: "
        f"{_first(found)}{left_out}"
    )


def _first(sources: Iterable[str]) -> str:
    return first_of([name_of(source) for source in sources], ", ", _MOST_NAMED)


def _build(plan: _Plan, tries: Retries, record: Path | None) -> State[None]:
    get_run_logger().info("Building: %s", plan.reason)
    words = ["build", *(["--select", *plan.select] if plan.select else [])]
    with writing(tries, commands=[words]) as dbt:
        dbt.reason = plan.reason
        dbt.records = [record] if record else []
        dbt(*words)
    return Completed(message=truncate(f"{plan.reason}; {dbt.state.message}", _LONGEST_STATE))
