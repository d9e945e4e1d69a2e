"""What `dbtpod generations` does: what is published, what changed, the way back; the volume checked and repaired.

Each function gives the lines to print, and on the right those that say what is wrong. All but `roll_back` and
`repair` only read: they work during a build, and where the volume is mounted read-only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dbtpod import settings, tables
from dbtpod.errors import WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import database, durable, publish, published, volume

# What a command found, and what is wrong.
Found = tuple[list[str], list[str]]


@dataclass(frozen=True)
class Change:
    """A table or view that two generations do not have in common; None where it is not there or is a view."""

    name: str
    what: str  # added, removed, changed
    rows_before: int | None
    rows_after: int | None


def diff(settings: Settings, before: int, after: int) -> list[Change]:
    """Compare the tables and views of two generations, down to the rows; those that are equal are left out."""
    old = database.relations(published.find(settings, before).database)
    new = database.relations(published.find(settings, after).database)
    return [_change(name, old.get(name), new.get(name)) for name in sorted(old | new) if old.get(name) != new.get(name)]


def _change(name: str, old: database.Relation | None, new: database.Relation | None) -> Change:
    what = "added" if old is None else "removed" if new is None else "changed"
    return Change(name, what, old.rows if old else None, new.rows if new else None)


@contextmanager
def _volume(command: str, *, writes: bool = False, needs_generations: bool = True) -> Iterator[Settings]:
    where = settings.from_environment(writes=writes)
    if needs_generations and not where.publish:
        raise WarehouseUnusable("There are no generations: DBTPOD_PUBLISH is false, so runs build in place.")
    with durable.volume_errors(where.volume, 0, f"`generations {command}`"):
        yield where


def show() -> Found:
    """List the generations that are kept; * marks the one that readers see."""
    with _volume("list") as where:
        return _show(where)


def _show(where: Settings) -> Found:
    current = published.pointer(where)
    rows, damaged = [], []
    for number in published.entries(where):
        if not (found := published.read(where, number)):
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
        damaged += [f"{one.database.with_name(published.FACTS)} {damage}."] if damage else []
    damaged += [f"{where.published_dir / 'current'} {current.problem}."] if current.problem else []
    table = tables.lines([("  number", "published", "size", "by", "built", "run"), *rows]) if rows else []
    notes = [*damaged, f"To see all that is wrong: {durable.CHECK}"] if damaged else []
    return (table + notes or ["Nothing is published."]), []


def compare(before: int, after: int) -> Found:
    """List the tables and views that differ between two generations, with their rows."""
    with _volume("diff") as where:
        changes = diff(where, before, after)
    rows = [(one.what, one.name, _count(one.rows_before), _count(one.rows_after)) for one in changes]
    header = ("", "table or view", f"rows in {before}", f"rows in {after}")
    same = f"{before} and {after} hold the same."
    return tables.lines([header, *rows]) if rows else [same], []


def roll_back(number: int) -> Found:
    """Let readers, and the next build, go back to a generation."""
    with _volume("rollback", writes=True) as where:
        left = published.pointer(where).number
        chosen = publish.roll_back(where, number)
    built = f"built by {chosen.run} at {chosen.at.isoformat(' ', 'seconds')}"
    undo = f" To undo: dbtpod generations rollback {left}" if left not in (None, chosen.number) else ""
    return [f"Readers now see generation {chosen.number}, {built}. The next build begins from it.{undo}"], []


def check() -> Found:
    """List each damage on the volume with what repairs it, and what was set aside."""
    with _volume("check", needs_generations=False) as where:
        return _check(where)


def _check(where: Settings) -> Found:
    damaged = volume.check(where)
    whole = f"The volume {where.volume} is whole: {len(published.generations(where))} generations."
    aside = sorted(where.set_aside_dir.iterdir()) if where.set_aside_dir.is_dir() else []
    notes = [f"Set aside, remove it when you do not need it: {path}" for path in aside]
    if damaged:
        return damaged, [f"Damaged: {len(damaged)}. To repair what can be: {durable.REPAIR}"]
    return [whole, *notes], []


def repair() -> Found:
    """Repair what can be; it moves aside and never deletes."""
    with _volume("repair", writes=True, needs_generations=False) as where:
        done, left = volume.repair(where)
    return done or ["There was nothing that could be repaired." if left else "There was nothing to repair."], left


def _count(rows: int | None) -> str:
    return "-" if rows is None else str(rows)
