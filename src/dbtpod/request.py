"""What a person asks for in the form of `dbt-run`, or by `dbtpod run --select …`: dbt commands, as lists of words.

    RunRequest(select=["orders+"], full_refresh=True).commands()
    # [["build", "--select", "orders+", "--full-refresh"]]

Each field is one of the form: Prefect refuses another name, type or choice before there is a run. What fields say
together is checked here, with a sentence on what to do. Texts have "" for "not given", as a form has.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dbtpod.dbt import yaml_file

Command = Literal["build", "run", "test", "seed", "snapshot"]
# What becomes of a build that ended well.
Result = Literal["publish", "keep aside", "discard"]
Pieces = Literal["whole", "day", "week", "month"]
ResourceType = Literal["model", "seed", "snapshot", "test", "unit_test", "saved_query", "exposure", "function"]

# The commands that dbt has the option for.
_WITH_EVENT_TIME = ("build", "run")
_WITH_FULL_REFRESH = ("build", "run", "seed")
_WITH_RESOURCE_TYPES = ("build",)
# What a run that continues another one may say too: the rest is as it was in that one.
_OF_ALL = {"continue_from", "result", "retries", "retry_delay_seconds"}
MOST_PIECES = 1_000
# Linux takes 131,072 bytes in one word.
MOST_BYTES = 100_000
# JSON has them as they are; in YAML, which is what dbt reads, they are line breaks or forbidden.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def _word(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty: write a name, or leave it out")
    if text.startswith("-"):
        raise ValueError(f"{text!r} begins with a dash, so dbt would take it for an option: write a name")
    if not text.isprintable():
        raise ValueError(f"{text!r} has a character that cannot be printed: write it without")
    return text


def _event_time(text: str) -> str:
    """Give a time as dbt takes it: in UTC, without an offset."""
    if not text:
        return text
    try:
        time = datetime.fromisoformat(text)
        time = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
    except (ValueError, OverflowError):
        time = datetime.max
    if time.year == datetime.max.year:
        raise ValueError(f"{text!r} is no time: write a date such as 2026-01-31, or 2026-01-31T06:00:00+01:00")
    if time.microsecond:
        raise ValueError(f"{text!r} has a part of a second, which dbt does not take: write whole seconds")
    return time.isoformat().removesuffix("T00:00:00")


def _run_id(text: str) -> str:
    try:
        return text and str(UUID(text))
    except ValueError:
        raise ValueError(
            f"{text!r} is no id of a flow run, such as {_EXAMPLE_ID}: copy it from the Prefect UI"
        ) from None


_EXAMPLE_ID = "0198c3f2-6b1e-7c1a-9d57-3f0e5a4b2c1d"
_Word = Annotated[str, AfterValidator(_word)]
_OptionalWord = Annotated[str, AfterValidator(lambda text: text and _word(text))]
_Time = Annotated[str, AfterValidator(_event_time)]


class RunRequest(BaseModel):
    """Any part of the project, with dbt's options."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="Run dbt")

    command: Command = Field("build", title="Command", description="What dbt does.", examples=["build", "run"])
    select: list[_Word] = Field(
        [],
        title="Select",
        description="The nodes to run, by dbt's selection syntax; all nodes unless given.",
        examples=[["orders+"], ["tag:daily", "path:models/marts"]],
    )
    exclude: list[_Word] = Field(
        [], title="Exclude", description="The nodes to leave out.", examples=[["stg_orders", "tag:slow"]]
    )
    selector: _OptionalWord = Field(
        "",
        title="Selector",
        description="One of the project's selectors.yml, in place of Select and Exclude.",
        examples=["smoke"],
    )
    resource_types: list[ResourceType] = Field(
        [],
        title="Resource types",
        description="Only nodes of these types; for build.",
        examples=[["model", "seed"]],
    )
    full_refresh: bool = Field(
        False,
        title="Full refresh",
        description="Build incremental models and seeds from nothing; for build, run and seed.",
        examples=[True],
    )
    vars: dict[str, Any] = Field(
        {},
        title="Vars",
        description="The project's variables, as JSON. They take the place of those in dbt_project.yml.",
        examples=[{"day": "2026-01-31"}],
    )
    event_time_start: _Time = Field(
        "",
        title="Event time: start",
        description="For a backfill of microbatch models: the first moment. A date or a time, in UTC unless it has an "
        "offset. For build and run, together with the end.",
        examples=["2026-01-01", "2026-01-01T06:00:00+01:00"],
    )
    event_time_end: _Time = Field(
        "",
        title="Event time: end",
        description="The moment after the last one: it does not belong to the range.",
        examples=["2026-04-01"],
    )
    pieces: Pieces = Field(
        "month",
        title="Pieces",
        description="How an event-time range is cut, by the calendar in UTC. Each piece is a step of the run, and what "
        "is done stays done when the run is resumed. All pieces are published together. Models that are not microbatch "
        "are built again with each piece.",
        examples=["month"],
    )
    fail_fast: bool = Field(False, title="Fail fast", description="Stop at the first node that fails.", examples=[True])
    result: Result = Field(
        "publish",
        title="Result",
        description="What becomes of a build that ended well: readers see it, it is kept beside the published one to "
        "look at first, or nothing is kept of it.",
        examples=["publish"],
    )
    continue_from: Annotated[str, AfterValidator(_run_id)] = Field(
        "",
        title="Continue from",
        description="The id of a flow run that failed: its commands are run again, without what was good. Then only "
        "Result and the retries may be given too.",
        examples=[_EXAMPLE_ID],
    )
    retries: int = Field(
        2,
        ge=0,
        le=100,
        title="Retries",
        description="How often a command is tried again after a lock or a connection error.",
        examples=[2],
    )
    retry_delay_seconds: float = Field(
        60,
        ge=0,
        le=86_400,
        title="Retry delay",
        description="The pause before each of these tries, in seconds.",
        examples=[60],
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problems := list(self._problems()):
            raise ValueError("\n".join(problems))
        return self

    @property
    def chooses(self) -> bool:
        """Whether it names a part of the project, which may not be there."""
        return bool(self.select or self.exclude or self.selector or self.resource_types)

    def commands(self) -> list[list[str]]:
        """Give the dbt commands, one for each piece, each as its words: no shell reads them.

        >>> RunRequest(command="run", event_time_start="2026-01-15", event_time_end="2026-02-02").commands()[1]
        ['run', '--event-time-start', '2026-02-01', '--event-time-end', '2026-02-02']
        """
        options = [self.command, *self._options()]
        if not self.event_time_start:
            return [options]
        ranges = self._ranges()
        return [[*options, "--event-time-start", start, "--event-time-end", end] for start, end in ranges]

    def _options(self) -> Iterator[str]:
        for name, values in (("--select", self.select), ("--exclude", self.exclude)):
            if values:
                yield from (name, *values)
        if self.selector:
            yield from ("--selector", self.selector)
        if self.resource_types:
            yield from ("--resource-type", *self.resource_types)
        if self.full_refresh:
            yield "--full-refresh"
        if self.vars:
            yield from ("--vars", _text(self.vars))
        if self.fail_fast:
            yield "--fail-fast"

    def _ranges(self) -> Iterator[tuple[str, str]]:
        start, end = map(datetime.fromisoformat, (self.event_time_start, self.event_time_end))
        while start < end:
            edge = min(_edge_after(start, self.pieces), end)
            yield _event_time(start.isoformat()), _event_time(edge.isoformat())
            start = edge

    def _problems(self) -> Iterator[str]:
        if self.continue_from:
            yield from self._in_the_way()
            return
        if self.selector and (self.select or self.exclude):
            yield "With selector, dbt ignores select and exclude: give one or the other."
        if self.full_refresh and self.command not in _WITH_FULL_REFRESH:
            yield f"full_refresh is for {_or(_WITH_FULL_REFRESH)}, and command is {self.command}: leave it out."
        if self.resource_types and self.command not in _WITH_RESOURCE_TYPES:
            yield f"resource_types is for {_or(_WITH_RESOURCE_TYPES)}, and command is {self.command}: leave it out."
        yield from self._problems_of_event_time()
        yield from self._problems_of_size()

    def _in_the_way(self) -> Iterator[str]:
        fields = type(self).model_fields
        given = {name for name, field in fields.items() if getattr(self, name) != field.get_default()} - _OF_ALL
        if given:
            names = ", ".join(name for name in fields if name in given)
            yield f"continue_from runs the commands of that run as they were: leave {names} out, or start a new run."

    def _problems_of_event_time(self) -> Iterator[str]:
        start, end = self.event_time_start, self.event_time_end
        if not (start or end):
            if self.pieces in ("day", "week"):
                yield "pieces cuts an event-time range, and there is none: give event_time_start and event_time_end."
        elif self.command not in _WITH_EVENT_TIME:
            yield f"An event-time range is for {_or(_WITH_EVENT_TIME)}, and command is {self.command}: leave it out."
        elif not (start and end):
            yield f"{'event_time_end' if start else 'event_time_start'} is missing: a range needs both ends."
        elif datetime.fromisoformat(start) >= datetime.fromisoformat(end):
            yield f"event_time_start {start} is not before event_time_end {end}: the end does not belong to the range."
        elif self.full_refresh and self.pieces != "whole":
            yield (
                "With full_refresh each piece would build the models from nothing, without the pieces before it: set "
                "pieces to whole, or leave full_refresh out."
            )
        elif len(list(islice(self._ranges(), MOST_PIECES + 1))) > MOST_PIECES:
            yield (
                f"From {start} to {end} are more than {MOST_PIECES:,} pieces of a {self.pieces}: choose longer ones, "
                "or a shorter range."
            )

    def _problems_of_size(self) -> Iterator[str]:
        if self.vars and not _is_read_as_written(self.vars):
            yield (
                "vars has a value that dbt, which reads YAML, would take for another one: write it as a text, in "
                "quotes."
            )
        elif (size := sum(len(word.encode()) for word in self._options())) > MOST_BYTES:
            yield f"The options have {size:,} bytes, and a command line takes {MOST_BYTES:,}: shorten vars or select."


def _edge_after(time: datetime, pieces: Pieces) -> datetime:
    """Return the next moment at which the calendar begins another piece."""
    day = time.replace(hour=0, minute=0, second=0)
    match pieces:
        case "day":
            return day + timedelta(days=1)
        case "week":
            return day + timedelta(days=7 - day.weekday())
        case "month":
            return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return datetime.max


def _text(values: dict[str, Any]) -> str:
    """Write them as JSON that is YAML too, which does not read a pair of `\\u` as one character."""
    text = json.dumps(values, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _is_read_as_written(values: dict[str, Any]) -> bool:
    """Whether dbt gets these values: for YAML, 1e+16 is a text, and a key of 1,025 characters is none."""
    try:
        text = _text(values)
        text.encode()
        return bool(yaml_file.parse(text) == values)
    except (TypeError, ValueError, RecursionError, yaml.YAMLError):
        return False


def _or(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
