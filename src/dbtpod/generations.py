"""What `dbtpod generations` does: what is published, what changed, the way back; the volume checked and repaired.

Each function gives the lines to print, and on the right those that say what is wrong. All but `roll_back` and
`repair` only read: they work during a build, and where the volume is mounted read-only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dbtpod import settings, tables
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import database, durable, health, warehouse
from dbtpod.warehouse.generations import FACTS, Generations
from dbtpod.warehouse.warehouse import DuckDBFile, InPlace

# What a command found, and what is wrong.
Found = tuple[list[str], list[str]]


@dataclass(frozen=True)
class Change:
    """A table or view that two generations do not have in common; None where it is not there or is a view."""

    name: str
    what: str  # added, removed, changed
    rows_before: int | None
    rows_after: int | None


def diff(generations: Generations, before: int, after: int) -> list[Change]:
    """Compare the tables and views of two generations, down to the rows; those that are equal are left out."""
    old = database.relations(generations.find(before).database)
    new = database.relations(generations.find(after).database)
    return [_change(name, old.get(name), new.get(name)) for name in sorted(old | new) if old.get(name) != new.get(name)]


def _change(name: str, old: database.Relation | None, new: database.Relation | None) -> Change:
    what = "added" if old is None else "removed" if new is None else "changed"
    return Change(name, what, old.rows if old else None, new.rows if new else None)


@contextmanager
def _warehouse(command: str, *, writes: bool = False) -> Iterator[DuckDBFile | InPlace]:
    kept = warehouse.of(settings.from_environment())
    kept.volume.check(writes=writes)
    with kept.volume.errors(f"`dbtpod {command}`"):
        yield kept


@contextmanager
def published(command: str, *, writes: bool = False) -> Iterator[DuckDBFile]:
    """Yield the warehouse for a command that needs generations."""
    with _warehouse(command, writes=writes) as kept:
        if not isinstance(kept, DuckDBFile):
            raise WarehouseUnusable("There are no generations: DBTPOD_PUBLISH is false, so runs build in place.")
        yield kept


def show() -> Found:
    """List the generations that are kept; * marks the one that readers see."""
    with published("generations list") as kept:
        return _show(kept.generations)


def _show(generations: Generations) -> Found:
    current = generations.pointer()
    rows, damaged = [], []
    for number in generations.entries():
        if not (found := generations.read(number)):
            continue
        one, damage = found
        row = (
            f"{'*' if one.number == current.number else ' '} {one.number}",
            one.at.isoformat(" ", "seconds"),
            durable.size_text(one.size),
            f"DuckDB {one.duckdb}",
            f"from {one.base}" if one.base else "from nothing",
            one.run,
        )
        rows.append(row)
        damaged += [f"{one.database.with_name(FACTS)} {damage}."] if damage else []
    damaged += [f"{generations.volume.current} {current.problem}."] if current.problem else []
    table = tables.lines([("  number", "published", "size", "by", "built", "run"), *rows]) if rows else []
    notes = [*damaged, f"To see all that is wrong: {durable.CHECK}"] if damaged else []
    return (table + notes or ["Nothing is published."]), []


def compare(before: int, after: int) -> Found:
    """List the tables and views that differ between two generations, with their rows."""
    with published("generations diff") as kept:
        changes = diff(kept.generations, before, after)
    rows = [(one.what, one.name, _count(one.rows_before), _count(one.rows_after)) for one in changes]
    header = ("", "table or view", f"rows in {before}", f"rows in {after}")
    same = f"{before} and {after} hold the same."
    return tables.lines([header, *rows]) if rows else [same], []


def roll_back(number: int) -> Found:
    """Make a generation current again: readers see it, and the next build begins from it."""
    with published("generations rollback", writes=True) as kept:
        left = kept.generations.pointer().number
        chosen = kept.publisher.roll_back(number)
    built = f"built by {chosen.run} at {chosen.at.isoformat(' ', 'seconds')}"
    undo = f" To undo: dbtpod generations rollback {left}" if left not in (None, chosen.number) else ""
    return [f"Readers now see generation {chosen.number}, {built}. The next build begins from it.{undo}"], []


def check() -> Found:
    """List each damage on the volume with what repairs it, and what was set aside."""
    with _warehouse("generations check") as kept:
        damaged = health.check(kept.publisher, by_rename=kept.publishes)
        volume, number = kept.volume, len(kept.publisher.generations.all())
    if damaged:
        return damaged, [f"Damaged: {len(damaged)}. To repair what can be: {durable.REPAIR}"]
    aside = sorted(volume.aside.iterdir()) if volume.aside.is_dir() else []
    notes = [f"Set aside, remove it when you do not need it: {path}" for path in aside]
    return [f"The volume {volume.root} is whole: {number} generations.", *notes], []


def repair() -> Found:
    """Repair what can be; it moves aside and never deletes."""
    with _warehouse("generations repair", writes=True) as kept:
        done, left = health.repair(kept.publisher, by_rename=kept.publishes)
    return done or ["There was nothing that could be repaired." if left else "There was nothing to repair."], left


def _count(rows: int | None) -> str:
    return "-" if rows is None else str(rows)
