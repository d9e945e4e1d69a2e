"""When each source got its newest row, as a sources.json of dbt's says, and which of them have newer rows now."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dbtpod.dbt.artifact import UNREADABLE
from dbtpod.dbt.events import time_of

FILE = "sources.json"
Times = Mapping[str, datetime]
# What a build makes of a source; a test of it alone is no reason for one.
_BUILT = ("model", "snapshot")


def read(path: Path | None) -> Times:
    """Read the time of each source's newest row; none without a file, or where it is not of a form that dbt writes."""
    try:
        return {each["unique_id"]: time_of(each["max_loaded_at"]) for each in _results(path) if "max_loaded_at" in each}
    except UNREADABLE:
        return {}


def newer(found: Times, recorded: Times, tolerance: timedelta) -> list[str]:
    """Name the sources whose newest row is more than `tolerance` newer than the recorded one, or was not recorded.

    >>> six, seven = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (6, 7))
    >>> newer({"source.shop.raw.orders": seven}, {"source.shop.raw.orders": six}, timedelta(hours=1))
    []
    """
    return [source for source, at in found.items() if source not in recorded or at - recorded[source] > tolerance]


def record(found: Path, recorded: Path | None, built: Collection[str]) -> dict[str, Any]:
    """Make the sources.json of a build from `built`: of these what was found, of the others what was recorded.

    A source that is newer within the tolerance keeps its recorded time, or its rows would never count.
    """
    made: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    # As `read` has it: what is damaged is no record.
    before = {each["unique_id"]: each for each in _results(recorded)} if read(recorded) else {}
    now = {each["unique_id"]: each for each in made["results"] if each["unique_id"] in built}
    return {**made, "results": list((before | now).values())}


def built_on(parents: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Name the sources that a model or a snapshot reads."""
    parents_of = (parent for node_id, of in parents.items() if node_id.split(".", 1)[0] in _BUILT for parent in of)
    return frozenset(parent for parent in parents_of if parent.startswith("source."))


def selector(source: str) -> str:
    """Return what selects the source and all that is built on it.

    dbt takes each dot for the end of a part, so a name that has one itself is written with wildcards.

    >>> selector("source.shop.raw.orders"), selector("source.shop.raw.orders.v1")
    ('source:shop.raw.orders+', 'source:shop.raw*.*v1+')
    """
    _, package, *parts = source.split(".")
    name, *_, table = (re.sub(r"[^\w-]", "?", part) for part in parts)
    return f"source:{package}.{name}.{table}+" if len(parts) == 2 else f"source:{package}.{name}*.*{table}+"


def text(at: datetime) -> str:
    """Write a time for a person; dbt has the year 1 for a source without rows."""
    return "no rows" if at.year == 1 else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _results(path: Path | None) -> Sequence[Mapping[str, Any]]:
    if path is None:
        return ()
    results: Sequence[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["results"]
    return results
