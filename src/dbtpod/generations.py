"""The command line for the volume: python -m dbtpod.generations list | diff A B | rollback N | check | repair.

list, diff and check only read: they work during a build, and where the volume is mounted read-only.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dbtpod import settings
from dbtpod.errors import DbtPodError, WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import database, durable, publish, published, volume


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; exit code 1 with a text on standard error for a mistake of the user and for damage."""
    arguments = _parser().parse_args(argv)
    command = COMMANDS[arguments.command]
    try:
        where = settings.from_environment(writes=command in (_roll_back, _repair))
        if not where.publish and command in (_list, _diff, _roll_back):
            raise WarehouseUnusable("There are no generations: DBTPOD_PUBLISH is false, so runs build in place.")
        with durable.room(where.volume, 0, f"`generations {arguments.command}`"):
            lines, left = command(where, arguments)
    except DbtPodError as error:
        lines, left = [], [str(error)]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stderr.writelines(f"{line}\n" for line in left)
    return 1 if left else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m dbtpod.generations", description="What is published, and the way back.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the generations that are kept; * marks the one that readers see")
    compare = commands.add_parser("diff", help="tables and views that differ between two generations")
    compare.add_argument("before", type=int)
    compare.add_argument("after", type=int)
    back = commands.add_parser("rollback", help="let readers, and the next build, go back to a generation")
    back.add_argument("number", type=int)
    commands.add_parser("check", help="a line for each damage on the volume and what repairs it; exit code 1 if any")
    commands.add_parser("repair", help="repair what can be; moves aside and never deletes; exit code 1 if any is left")
    return parser


# What a command says, and what is wrong.
_Said = tuple[list[str], list[str]]


def _list(where: Settings, _: argparse.Namespace) -> _Said:
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
    table = _table([("  number", "published", "size", "by", "built", "run"), *rows]) if rows else []
    notes = [*damaged, f"To see all that is wrong: {durable.CHECK}"] if damaged else []
    return (table + notes or ["Nothing is published."]), []


def _diff(where: Settings, arguments: argparse.Namespace) -> _Said:
    changes = diff(where, arguments.before, arguments.after)
    rows = [(one.what, one.name, _count(one.rows_before), _count(one.rows_after)) for one in changes]
    header = ("", "table or view", f"rows in {arguments.before}", f"rows in {arguments.after}")
    same = f"{arguments.before} and {arguments.after} hold the same."
    return _table([header, *rows]) if rows else [same], []


def _roll_back(where: Settings, arguments: argparse.Namespace) -> _Said:
    left = published.pointer(where).number
    chosen = publish.roll_back(where, arguments.number)
    built = f"built by {chosen.run} at {chosen.at.isoformat(' ', 'seconds')}"
    undo = f" To undo: python -m dbtpod.generations rollback {left}" if left not in (None, chosen.number) else ""
    return [f"Readers now see generation {chosen.number}, {built}. The next build begins from it.{undo}"], []


def _check(where: Settings, _: argparse.Namespace) -> _Said:
    damaged = volume.check(where)
    whole = f"The volume {where.volume} is whole: {len(published.generations(where))} generations."
    aside = sorted(where.set_aside_dir.iterdir()) if where.set_aside_dir.is_dir() else []
    notes = [f"Set aside, remove it when you do not need it: {path}" for path in aside]
    if damaged:
        return damaged, [f"Damaged: {len(damaged)}. To repair what can be: {durable.REPAIR}"]
    return [whole, *notes], []


def _repair(where: Settings, _: argparse.Namespace) -> _Said:
    done, left = volume.repair(where)
    return done or ["There was nothing that could be repaired." if left else "There was nothing to repair."], left


def _count(rows: int | None) -> str:
    return "-" if rows is None else str(rows)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


COMMANDS = {"list": _list, "diff": _diff, "rollback": _roll_back, "check": _check, "repair": _repair}


if __name__ == "__main__":
    sys.exit(main())
