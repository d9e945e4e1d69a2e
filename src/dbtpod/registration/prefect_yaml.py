"""prefect.yaml as models: their fields are the keys, the types and the rules; what else is an error, in `rules`.

`prefect deploy` forgives what a person would not: it ignores unknown keys, deploys unset variables as empty text, and
fails at an `sla` after it has changed the deployment.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar
from zoneinfo import available_timezones

from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from pydantic import Discriminator, Field, PrivateAttr, Tag, TypeAdapter, ValidationError

from dbtpod.registration import entrypoints, steps
from dbtpod.registration.entrypoints import did_you_mean
from dbtpod.registration.mapping import Around, StrictMapping
from dbtpod.registration.steps import Steps
from dbtpod.registration.yaml_file import Place, Problem

# The queue for what builds, with the limit that warehouse.writers says.
WRITER_QUEUE = "duckdb-writer"
# The queues of the work pool and how many of their runs may be in a pod at once. One writer: DuckDB has no second.
QUEUES: Mapping[str, int | None] = {WRITER_QUEUE: 1, "duckdb-reader": None}


_KINDS: dict[str, TypeAdapter[Any]] = {
    "cron": TypeAdapter(CronSchedule),
    "interval": TypeAdapter(IntervalSchedule),
    "rrule": TypeAdapter(RRuleSchedule),
}


class Schedule(StrictMapping):
    """When a deployment runs; `active` is None where the Prefect UI decides."""

    expected = "a schedule is a mapping with slug, cron, timezone"

    slug: str = ""
    cron: str | None = None
    interval: int | float | str | None = None
    rrule: str | None = None
    timezone: str = "UTC"
    active: bool | None = None
    day_or: bool | None = None
    anchor_date: str | None = None
    replaces: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)

    @property
    def when(self) -> str:
        """The cron, interval or rule as written."""
        return str(self.cron or self.rrule or f"every {self.interval} s")

    @classmethod
    def rules(cls, given: dict[str, Any], around: Around) -> Iterator[Problem]:
        """Yield what is wrong: it needs a slug, one kind of time, and a time that Prefect accepts."""
        if not given.get("slug"):
            yield (), "has no slug: give it a name of its own, or Prefect cannot update it later"
        kinds = [kind for kind in _KINDS if given.get(kind) is not None]
        if len(kinds) != 1:
            yield (), f"has {' and '.join(kinds) or 'no time'}: it must have one of cron, interval, rrule"
            return
        try:
            _KINDS[kinds[0]].validate_python({key: given[key] for key in (kinds[0], "timezone") if key in given})
        except ValidationError as exc:
            error = exc.errors()[0]
            # IntervalSchedule checks the timezone as a whole, so without a place.
            wrong = "timezone" if "timezone" in given and error["loc"] in ((), ("timezone",)) else kinds[0]
            reason = error["msg"].removeprefix("Value error, ")
            near = did_you_mean(given[wrong], available_timezones()) if wrong == "timezone" else ""
            yield (wrong,), f"is {given[wrong]!r}: {reason}{near}"


class WorkPool(StrictMapping):
    """Where a deployment's runs go."""

    name: str | None = None
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def rules(cls, given: dict[str, Any], around: Around) -> Iterator[Problem]:
        """Yield what is wrong: it names the registered pool, and a queue that a worker polls."""
        if (name := given.get("name")) != around.pool:
            yield ("name",), f"is {name!r}, but the work pool that is registered is {around.pool!r}: write that"
        if (queue := given.get("work_queue_name")) not in QUEUES:
            near = did_you_mean(queue, QUEUES)
            yield ("work_queue_name",), f"is {queue!r}: no worker polls it; write {' or '.join(QUEUES)}{near}"


class ConcurrencyLimit(StrictMapping):
    """How many runs of a deployment may run at once."""

    missing: ClassVar = {"limit": "has no limit: write a whole number"}

    limit: int
    collision_strategy: str | None = None
    grace_period_seconds: int | None = None


class Deployment(StrictMapping):
    """One entry of the file."""

    expected = "a deployment is a mapping with name, entrypoint, work_pool"
    missing: ClassVar = {"work_pool": "has no work_pool: write its name and work_queue_name"}
    refused: ClassVar = {
        "schedule": "write a list under `schedules`",
        "version_type": "it asks git, which an image does not have: write the version under `version`",
        "sla": "only Prefect Cloud has it, and elsewhere the deployment fails half done: remove it",
    }

    name: str = ""
    entrypoint: str = ""
    work_pool: WorkPool
    schedules: list[Schedule] = Field(default_factory=list)
    paused: bool | None = None  # None where the Prefect UI decides
    parameters: dict[str, Any] = Field(default_factory=dict)
    flow_name: str | None = None
    description: str | None = None
    version: str | None = None
    tags: list[Any] = Field(default_factory=list)
    triggers: list[Any] = Field(default_factory=list)
    enforce_parameter_schema: bool | None = None
    concurrency_limit: (
        Annotated[
            Annotated[int, Tag("|int")] | Annotated[ConcurrencyLimit, Tag("|mapping")],
            Discriminator(lambda given: "|mapping" if isinstance(given, dict) else "|int"),
        ]
        | None
    ) = None
    build: Steps = None
    push: Steps = None
    pull: Steps = None

    _flow: str | None = PrivateAttr(None)

    def model_post_init(self, context: Around) -> None:
        """Read the flow's name from its source."""
        found = entrypoints.find(self.entrypoint, context.folder)
        self._flow = found.name if isinstance(found, entrypoints.Flow) else None

    @property
    def flow(self) -> str | None:
        """The flow's name; None where only running the flow's file would show it."""
        return self._flow

    @property
    def queue(self) -> str:
        """The work queue of its runs."""
        return self.work_pool.work_queue_name or ""

    @property
    def job_variables(self) -> frozenset[str]:
        """What it sets in the pool's job template."""
        return frozenset(self.work_pool.job_variables)

    @classmethod
    def rules(cls, given: dict[str, Any], around: Around) -> Iterator[Problem]:
        """Yield what is wrong: it needs a name, a flow with these parameters, installed steps, different slugs."""
        if not given.get("name"):
            yield (), "has no name: Prefect would skip it"
        yield from _entrypoint_problems(given, around.folder)
        yield from steps.problems(given)
        yield from _repeated(given.get("schedules"), "slug", "schedules", "another schedule of this deployment has too")


class PrefectYaml(StrictMapping):
    """The whole file."""

    name: str | None = None
    prefect_version: str | None = Field(None, alias="prefect-version")
    build: Steps = None
    push: Steps = None
    pull: Steps = None
    deployments: list[Deployment]
    # YAML anchors, by the convention of Prefect's documentation.
    definitions: Any = None

    @classmethod
    def rules(cls, given: dict[str, Any], around: Around) -> Iterator[Problem]:
        """Yield what is wrong: it needs steps that are installed, and deployments of different names."""
        yield from steps.problems(given)
        yield from _repeated(
            given["deployments"], "name", "deployments", "another deployment has too: give each its own"
        )


def parse(content: dict[str, Any], around: Around) -> tuple[Deployment, ...] | list[Problem]:
    """Parse the content of a prefect.yaml, its variables filled in; return its errors instead where it has some."""
    try:
        return tuple(PrefectYaml.model_validate(content, context=around).deployments)
    except ValidationError as error:
        return [(each["loc"], each["msg"]) for each in error.errors()]


def _repeated(items: Any, key: str, name: str, text: str) -> Iterator[Problem]:
    given = [item.get(key) if isinstance(item, dict) else None for item in items if items] if items else []
    counts = Counter(value for value in given if isinstance(value, str))
    for index, value in enumerate(given):
        if isinstance(value, str) and value and counts[value] > 1:
            yield (name, index, key), f"is {value!r}, which {text}"


def _entrypoint_problems(given: dict[str, Any], folder: Path) -> Iterator[Problem]:
    entrypoint = given.get("entrypoint")
    if not isinstance(entrypoint, str) or not entrypoint:
        yield (), f"has no entrypoint: name its flow as flows/flows.py:function, or {entrypoints.READY}"
        return
    flow = entrypoints.find(entrypoint, folder)
    if isinstance(flow, str):
        yield ("entrypoint",), f"is {entrypoint!r}: {flow}"
        return
    of_all = given.get("parameters") or {}
    if not isinstance(of_all, dict):
        return
    yield from _unknown_parameters(of_all, (), entrypoint, flow)
    schedules = given.get("schedules")
    for index, schedule in enumerate(schedules if isinstance(schedules, list) else []):
        own = (schedule.get("parameters") or {}) if isinstance(schedule, dict) else None
        if isinstance(own, dict):
            at = ("schedules", index)
            yield from _unknown_parameters(own, at, entrypoint, flow)
            for name in sorted(flow.required - {*of_all, *own}):
                yield at, f"gives no parameter {name!r}, which {entrypoint} needs: write it under `parameters`"


def _unknown_parameters(given: dict[str, Any], at: Place, entrypoint: str, flow: entrypoints.Flow) -> Iterator[Problem]:
    for name in given:
        if flow.parameters is not None and name not in flow.parameters:
            near = did_you_mean(name, flow.parameters)
            yield (*at, "parameters", name), f"is not a parameter of {entrypoint}{near}"
