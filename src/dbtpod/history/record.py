"""run.json: what a run says of itself in its own folder, when it begins and when it ends.

    {"run_id": "0f6c…", "name": "slow-owl", "flow": "dbt", "state": "completed", "generation": 7, "starts": […]}

Each pod of the run is a start. One that was killed has no end: the state stays `running`. Whatever is unreadable is as
if it were not there.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dbtpod.warehouse import durable

FILE = "run.json"
RUNNING, COMPLETED, FAILED, CRASHED = "running", "completed", "failed", "crashed"
_LONGEST = 10_000


@dataclass(frozen=True)
class Start:
    """One pod, or one process, that had the run."""

    pod: str
    started: datetime
    ended: datetime | None = None


@dataclass(frozen=True)
class Record:
    """What run.json holds."""

    run_id: str
    name: str | None = None
    flow: str | None = None
    deployment: str | None = None
    state: str = RUNNING
    message: str | None = None
    generation: int | None = None
    base: int | None = None
    only_reads: bool | None = None
    dbtpod: str | None = None
    starts: tuple[Start, ...] = field(default=())

    def begun(self, start: Start, earlier: "Record | None") -> "Record":
        """Return what it is when that start begins: with those before it, if it is the same run's."""
        before = earlier.starts if earlier and earlier.run_id == self.run_id else ()
        # A flow may call us twice.
        kept = tuple(one for one in before if (one.pod, one.started) != (start.pod, start.started))
        return replace(self, starts=(*kept, start))

    def ended(self, state: str, message: str | None, at: datetime, generation: int | None = None) -> "Record":
        """Return what it is when the newest start has ended."""
        starts = (*self.starts[:-1], replace(self.starts[-1], ended=at))
        text = message[:_LONGEST] if message else None
        return replace(self, state=state, message=text, generation=generation, starts=starts)


def read(path: Path) -> Record | None:
    """Read run.json; None where there is none, or none that can be understood."""
    try:
        values = json.loads(path.read_bytes())
        starts = tuple(Start(each["pod"], _time(each["started"]), _ended(each)) for each in values["starts"])
        known = {one.name for one in fields(Record)} - {"starts"}
        return Record(**{key: value for key, value in values.items() if key in known}, starts=starts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def write(folder: Path, found: Record) -> None:
    """Replace run.json in the run's folder, which is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    durable.write_json(folder / FILE, json.loads(json.dumps(asdict(found), default=datetime.isoformat)))


def _ended(start: Mapping[str, Any]) -> datetime | None:
    return _time(start["ended"]) if start.get("ended") else None


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found
