"""What `dbtpod generations` does: what is published, what changed, the way back; the volume checked and repaired.

Each function gives the lines to print, and on the right those that say what is wrong. All but `roll_back`, `publish`,
`remove` and `repair` only read: they work during a build, and where the volume is mounted read-only.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from dbtpod import settings, tables
from dbtpod.dbt import keys, lake
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import comparison, durable, health, publish_preview, warehouse
from dbtpod.warehouse.builds import FACTS, Builds
from dbtpod.warehouse.comparison import Change
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.lake.ducklake import DuckLake
from dbtpod.warehouse.previews import PREFIX
from dbtpod.warehouse.remote import Remote
from dbtpod.warehouse.warehouse import DuckDBFile, InPlace, Kept

_LOG = logging.getLogger(__name__)
# What `generations diff` calls the one that readers see.
CURRENT = "current"
MANIFEST = "manifest.json"
_PREVIEWS = "There are no previews of builds in a server."
_NO_PREVIEWS = "No build is kept aside there."
# What helps in place of each command: with a database server, and with a DuckLake.
_ELSEWHERE = {
    "generations diff": "Compare the tables there.",
    "generations publish": _PREVIEWS,
    "generations remove": _PREVIEWS,
    "generations rollback": "A database server is not rolled back from here: what the models committed stays. Restore "
    "a backup of that database, or deploy the image of before and build again.",
    "export": "Take the data out with the server's own means, such as pg_dump.",
    "backup run": "Back the data up with the server's own means, such as pg_dump or its snapshots.",
    "restore": "Restore a backup of that database with the server's own means.",
    "import": "Bring the data in with the server's own means, such as pg_restore.",
}
_OF_LAKE = {
    "generations diff": "Attach the two in DuckDB and compare the tables there.",
    "generations publish": _NO_PREVIEWS,
    "generations remove": _NO_PREVIEWS,
    "export": "Attach it in DuckDB: COPY FROM DATABASE makes a DuckDB file of it.",
    "backup run": "Back up PostgreSQL and the data files with their own means, PostgreSQL first.",
    "restore": "Restore the backups of PostgreSQL and of the data files with their own means.",
    "import": "Bring the data in with DuckDB, as a seed or a source.",
}
# What a command found, and what is wrong.
Found = tuple[list[str], list[str]]


def diff(before: Generation, after: Generation) -> list[Change]:
    """Compare the tables and views of two builds, down to the rows; those that are equal are left out."""
    known = keys.read(after.database.with_name(MANIFEST)) or keys.read(before.database.with_name(MANIFEST))
    return comparison.changes(before.database, after.database, known)


@contextmanager
def _warehouse(command: str, *, writes: bool = False) -> Iterator[Kept]:
    kept = warehouse.of(settings.from_environment())
    kept.volume.check(writes=writes)
    with kept.volume.errors(f"`dbtpod {command}`"):
        yield kept


@contextmanager
def published(command: str, *, writes: bool = False) -> Iterator[DuckDBFile]:
    """Yield the warehouse for a command that needs the data of generations."""
    with _listed(command, writes=writes) as kept:
        yield _with_data(kept, command)


def _with_data(kept: DuckDBFile | DuckLake | Remote, command: str) -> DuckDBFile:
    if isinstance(kept, DuckDBFile):
        return kept
    where, instead = "remote the data is in a database server", _ELSEWHERE
    if isinstance(kept, DuckLake):
        where, instead = "ducklake the data is in a DuckLake", _OF_LAKE
    raise WarehouseUnusable(
        f"`dbtpod {command}` is not for this warehouse: with warehouse.kind {where}, and a generation holds what dbt "
        f"wrote about its build. {instead[command]}"
    )


@contextmanager
def _listed(command: str, *, writes: bool = False) -> Iterator[DuckDBFile | DuckLake | Remote]:
    """Yield the warehouse for a command that needs generations."""
    with _warehouse(command, writes=writes) as kept:
        if isinstance(kept, InPlace):
            raise WarehouseUnusable("There are no generations: DBTPOD_PUBLISH is false, so runs build in place.")
        yield kept


def show() -> Found:
    """List the generations that are kept, * marks the one that readers see; then the previews."""
    with _listed("generations list") as kept:
        pointer = kept.generations.pointer()
        lines, damaged = _list(kept.generations, "  number", "published", pointer.number)
        damaged += [f"{kept.volume.current} {pointer.problem}."] if pointer.problem else []
        try:
            previews, more = _list(kept.previews, "  preview", "kept aside")
        except WarehouseUnusable as error:
            previews, more = [], [str(error)]
    notes = [*damaged, *more]
    notes += [f"To see all that is wrong: {durable.CHECK}"] if notes else []
    nothing = [] if lines or damaged else ["Nothing is published."]
    return [*lines, *nothing, *([""] if previews else []), *previews, *notes], []


def _place(one: Generation) -> str:
    if one.is_remote:
        return "DuckLake" if one.database.with_name(lake.FILE).is_file() else "no data"
    return f"DuckDB {one.duckdb}"


def _list(builds: Builds, name: str, since: str, current: int | None = None) -> tuple[list[str], list[str]]:
    rows, damaged = [], []
    for number in builds.entries():
        if not (found := builds.read(number)):
            continue
        one, damage = found
        row = (
            f"{'*' if one.number == current else ' '} {builds.name(one.number).removeprefix('generation ')}",
            one.at.isoformat(" ", "seconds"),
            durable.size_text(one.size),
            _place(one),
            f"from {one.base}" if one.base else "from nothing",
            one.run,
        )
        rows.append(row)
        damaged += [f"{one.database.with_name(FACTS)} {damage}."] if damage else []
    return (tables.lines([(name, since, "size", "by", "built", "run"), *rows]) if rows else []), damaged


def compare(before: str, after: str) -> Found:
    """List the tables and views that differ between two builds, with their rows.

    Each is a generation's number, `current`, or a preview such as `preview-3`.
    """
    with published("generations diff") as kept:
        changes = diff(_find(kept, before), _find(kept, after))
    header = ("", "table or view", f"rows in {before}", f"rows in {after}", "added", "removed", "changed", "columns")
    rows = [(one.what, one.name, *comparison.cells(one)) for one in changes]
    same = f"{before} and {after} hold the same."
    return tables.lines([header, *rows]) if rows else [same], []


def _find(kept: DuckDBFile, name: str) -> Generation:
    if name.startswith(PREFIX):
        return kept.previews.find(int(name.removeprefix(PREFIX)))
    number = kept.generations.current() if name == CURRENT else int(name)
    if number is None:
        raise WarehouseUnusable(f"Nothing is published in {kept.volume.published} yet.")
    return kept.generations.find(number)


def publish(preview: str) -> Found:
    """Make a preview the next generation, if the one that its build began from is still current."""
    with published("generations publish", writes=True) as kept:
        left = kept.generations.pointer().number
        made = publish_preview.publish(kept.publisher, int(preview.removeprefix(PREFIX)))
    undo = f" To undo: dbtpod generations rollback {left}" if left not in (None, made.number) else ""
    text = f"Readers now see generation {made.number}, which was {preview}, built by {made.run}."
    return [f"{text} The next build begins from it.{undo}"], []


def remove(preview: str) -> Found:
    """Remove a preview."""
    with published("generations remove", writes=True) as kept:
        publish_preview.remove_one(kept.publisher, int(preview.removeprefix(PREFIX)))
    return [f"{preview} is removed."], []


def roll_back(number: int) -> Found:
    """Make a generation current again: readers see it, and the next build begins from it."""
    with _listed("generations rollback", writes=True) as kept:
        if isinstance(kept, DuckLake):
            return _roll_back_lake(kept, number)
        file = _with_data(kept, "generations rollback")
        left = file.generations.pointer().number
        chosen = file.publisher.roll_back(number)
    return _rolled_back(chosen.number, chosen.run, chosen.at, left)


def _roll_back_lake(kept: DuckLake, number: int) -> Found:
    left = kept.generations.pointer().number
    chosen = kept.roll_back(number, _LOG)
    return _rolled_back(number, chosen.run, chosen.at, left)


def _rolled_back(number: int, run: str, at: datetime | None, left: int | None) -> Found:
    built = f"built by {run} at {at.isoformat(' ', 'seconds')}" if at else f"built by {run}"
    undo = f" To undo: dbtpod generations rollback {left}" if left not in (None, number) else ""
    return [f"Readers now see generation {number}, {built}. The next build begins from it.{undo}"], []


def check() -> Found:
    """List each damage on the volume with what repairs it, and what was set aside."""
    with _warehouse("generations check") as kept:
        damaged = health.check(kept.publisher, by_rename=kept.publishes)
        damaged += kept.problems(_LOG) if isinstance(kept, DuckLake) else []
        if damaged:
            return damaged, [f"Damaged: {len(damaged)}. To repair what can be: {durable.REPAIR}"]
        volume, number = kept.volume, len(kept.publisher.generations.all())
        previews = len(kept.publisher.previews.all())
    aside = sorted(volume.aside.iterdir()) if volume.aside.is_dir() else []
    more = f", {previews} previews" if previews else ""
    notes = [f"Set aside, remove it when you do not need it: {path}" for path in aside]
    return [f"The volume {volume.root} is whole: {number} generations{more}.", *notes], []


def repair() -> Found:
    """Repair what can be; it moves aside and never deletes."""
    with _warehouse("generations repair", writes=True) as kept:
        done, left = health.repair(kept.publisher, by_rename=kept.publishes)
    return done or ["There was nothing that could be repaired." if left else "There was nothing to repair."], left
