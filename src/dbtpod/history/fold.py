"""From the folders of a run to its rows: of one that completed, failed or was killed, and of an older one likewise."""

from collections.abc import Mapping
from datetime import datetime

from dbtpod.history import attempt
from dbtpod.history.attempt import Found, Row
from dbtpod.history.folders import Folder
from dbtpod.history.record import COMPLETED, CRASHED, FAILED, RUNNING, Record
from dbtpod.history.schema import TABLES
from dbtpod.warehouse.facts import Generation

Rows = dict[str, list[Row]]


def rows(folder: Folder, taken: Mapping[str, str], published: Mapping[str, Generation], is_dead: bool) -> Rows:
    """Return the rows of a run, by their table.

    `taken` has the runs of invocations that are known: a run that continues another one has the records of both in its
    folder. `published` has the generation of each run. `is_dead`: what says that it runs was written by a process that
    is gone.
    """
    found: Rows = {name: [] for name in TABLES}
    said = folder.record
    own: list[tuple[int, int, Found]] = []
    for number, position, path in folder.attempts():
        one = attempt.read(path)
        if not _is_anothers(one, folder.run_id, said, taken):
            own.append((number, position, one))
    for number, position, one in own:
        run: Row = {"run_id": folder.run_id}
        found["commands"].append(run | {"number": number, "attempt": position} | one.command())
        for table, made in one.rows().items():
            found[table] += [run | {"command": number, "attempt": position} | each for each in made]
    found["runs"].append(_run(folder.run_id, said, [one for _, _, one in own], published, is_dead))
    return found


def _is_anothers(one: Found, run_id: str, said: Record | None, taken: Mapping[str, str]) -> bool:
    if taken.get(one.invocation_id, run_id) != run_id:
        return True
    return said is not None and bool(said.starts) and (one.started or one.made) < said.starts[0].started


def _run(run_id: str, said: Record | None, own: list[Found], published: Mapping[str, Generation], is_dead: bool) -> Row:
    made = published.get(run_id)
    row: Row = dict.fromkeys(TABLES["runs"]) | {"run_id": run_id}
    row["dbt"] = next((one.dbt for one in reversed(own) if one.dbt), None)
    row["started"] = min((one.started for one in own if one.started), default=None)
    last = max((one.last for one in own if one.last), default=None)
    if said:
        names = ("name", "flow", "deployment", "message", "generation", "base", "only_reads", "dbtpod")
        row |= {name: getattr(said, name) for name in names}
        row |= {"state": said.state, "starts": len(said.starts), "pod_seconds": _pod_seconds(said, last)}
        row["started"] = said.starts[0].started if said.starts else row["started"]
        row["ended"] = said.starts[-1].ended if said.starts and said.state != RUNNING else None
    else:
        row["state"] = _state(own, made)
        row["only_reads"] = all(one.only_reads for one in own) if own else None
        row["ended"] = None if row["state"] == RUNNING else last
    if made:
        row["generation"] = made.number
        row["base"] = row["base"] or made.base
        row["dbtpod"] = row["dbtpod"] or made.dbtpod
    if row["state"] == RUNNING and is_dead:
        row |= {"state": CRASHED, "ended": last}
    return row


def _state(own: list[Found], made: Generation | None) -> str | None:
    """Return how a run ended that does not say it; None where that is not known."""
    if made:
        return COMPLETED
    codes = [one.exit_code for one in own]
    if not codes:
        return None
    if codes[-1] is None:
        return RUNNING
    if codes[-1] != 0:
        return FAILED
    return COMPLETED if all(one.only_reads for one in own) else None


def _pod_seconds(said: Record, last: datetime | None) -> float:
    """Add up the starts; one that was killed lasted until the last thing that is known of it."""
    begun = [*(one.started for one in said.starts[1:]), None]
    total = 0.0
    for start, following in zip(said.starts, begun, strict=True):
        end = start.ended or (min(last, following) if last and following else last)
        total += max(0.0, (end - start.started).total_seconds()) if end else 0.0
    return total
