"""The command line for what is published: python -m dbtpod.generations list | diff A B | rollback N."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dbtpod import settings
from dbtpod.errors import DbtPodError, WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import database, durable, publish


@dataclass(frozen=True)
class Change:
    """A table or view that two generations do not have in common; None where it is not there or is a view."""

    name: str
    what: str  # added, removed, changed
    rows_before: int | None
    rows_after: int | None


def diff(settings: Settings, before: int, after: int) -> list[Change]:
    """Compare the tables and views of two generations, down to the rows; those that are equal are left out."""
    old = database.relations(publish.find(settings, before).database)
    new = database.relations(publish.find(settings, after).database)
    return [_change(name, old.get(name), new.get(name)) for name in sorted(old | new) if old.get(name) != new.get(name)]


def _change(name: str, old: database.Relation | None, new: database.Relation | None) -> Change:
    what = "added" if old is None else "removed" if new is None else "changed"
    return Change(name, what, old.rows if old else None, new.rows if new else None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a mistake of the user ends it with its text and exit code 1."""
    arguments = _parser().parse_args(argv)
    try:
        where = settings.from_environment()
        if not where.publish:
            raise WarehouseUnusable("There are no generations: DBTPOD_PUBLISH is false, so runs build in place.")
        lines = {"list": _list, "diff": _diff, "rollback": _roll_back}[arguments.command](where, arguments)
    except DbtPodError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m dbtpod.generations", description="What is published, and rolling back.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the generations that are kept; * marks the one that readers see")
    compare = commands.add_parser("diff", help="tables and views that differ between two generations")
    compare.add_argument("before", type=int)
    compare.add_argument("after", type=int)
    back = commands.add_parser("rollback", help="let readers, and the next build, go back to a generation")
    back.add_argument("number", type=int)
    return parser


def _list(where: Settings, _: argparse.Namespace) -> list[str]:
    current = publish.current(where)
    rows = [
        (
            f"{'*' if one.number == current else ' '} {one.number}",
            one.at.isoformat(" ", "seconds"),
            durable.size_text(one.size),
            f"DuckDB {one.duckdb}",
            f"from {one.base}" if one.base else "from nothing",
            one.run,
        )
        for one in publish.generations(where)
    ]
    return (
        _table([("  number", "published", "size", "by", "built", "run"), *rows]) if rows else ["Nothing is published."]
    )


def _diff(where: Settings, arguments: argparse.Namespace) -> list[str]:
    changes = diff(where, arguments.before, arguments.after)
    rows = [(one.what, one.name, _count(one.rows_before), _count(one.rows_after)) for one in changes]
    header = ("", "table or view", f"rows in {arguments.before}", f"rows in {arguments.after}")
    return _table([header, *rows]) if rows else [f"{arguments.before} and {arguments.after} hold the same."]


def _roll_back(where: Settings, arguments: argparse.Namespace) -> list[str]:
    left = publish.current(where)
    chosen = publish.roll_back(where, arguments.number)
    built = f"built by {chosen.run} at {chosen.at.isoformat(' ', 'seconds')}"
    undo = f" To undo: python -m dbtpod.generations rollback {left}" if left != chosen.number else ""
    return [f"Readers now see generation {chosen.number}, {built}. The next build begins from it.{undo}"]


def _count(rows: int | None) -> str:
    return "-" if rows is None else str(rows)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


if __name__ == "__main__":
    sys.exit(main())
