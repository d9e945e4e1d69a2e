"""A volume with history in it, what can happen to it, and everything that looks at it afterwards, for tests."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

import warehouse
from dbtpod.warehouse import health, housekeeping, working_copy
from dbtpod.warehouse.warehouse import DuckDBFile
from dbtpod.warehouse.working_copy import WorkingCopy
from warehouse import LOG

Inflict = Callable[[DuckDBFile], object]
# Runs a command of `generations`: its exit code, and all that it says.
Say = Callable[..., tuple[int, str]]


@dataclass(frozen=True)
class Case:
    """A damage, and what its message names."""

    name: str
    inflict: Inflict
    # A part of the path that each message has.
    path: str
    # A run that builds puts it right by itself; else it refuses until `repair`.
    heals: bool = True


def cases(*groups: list[Case]) -> pytest.MarkDecorator:
    """Run a test once for each case."""
    return pytest.mark.parametrize("case", [case for group in groups for case in group], ids=lambda case: case.name)


def build(kept: DuckDBFile, run: str = "run") -> int:
    """Do what a run does that writes: begin, add a row to what no rebuild brings back, publish; the new number."""
    with warehouse.alone(kept):
        begin(kept, run)
        with duckdb.connect(kept.volume.database) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS history (build INTEGER)")
            connection.execute("INSERT INTO history SELECT count(*) + 1 FROM history")
    return warehouse.publish_as(kept, run).number


def begin(kept: DuckDBFile, run: str = "run") -> None:
    health.make_ready(kept.publisher, LOG)
    housekeeping.clean(kept.publisher, run)
    working_copy.wait_until_unused(kept.volume.database, 0, LOG)
    WorkingCopy(kept.publisher, run, LOG).check_out()


def history(path: Path) -> list[int]:
    with duckdb.connect(path, read_only=True) as connection:
        return [row[0] for row in connection.execute("SELECT build FROM history ORDER BY build").fetchall()]


def with_history(kept: DuckDBFile) -> DuckDBFile:
    """Publish three builds; the run after them failed, and left its working copy."""
    for _ in range(3):
        build(kept)
    with warehouse.alone(kept):
        begin(kept, "failed")
    return kept


def every_file(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path with what changes when anything is written to it."""
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def current(kept: DuckDBFile) -> Path:
    return kept.volume.current


def generation(kept: DuckDBFile, number: int) -> Path:
    return kept.volume.published / f"{number:06d}"


def link(target: str) -> Inflict:
    def inflict(kept: DuckDBFile) -> None:
        current(kept).unlink()
        current(kept).symlink_to(target)

    return inflict


def instead_of_the_link(text: bytes | None) -> Inflict:
    def inflict(kept: DuckDBFile) -> None:
        current(kept).unlink()
        current(kept).mkdir() if text is None else current(kept).write_bytes(text)

    return inflict


def a_copy_instead_of_the_link(kept: DuckDBFile) -> None:
    current(kept).unlink()
    shutil.copytree(generation(kept, 2), current(kept))


def facts(number: int, change: Callable[[Path], object]) -> Inflict:
    return lambda kept: change(generation(kept, number) / "generation.json")


def changed(**values: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | values))


def content(text: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(text)


def becomes_a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "something").write_text("here")


def becomes_a_file(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("a file")


def owner(change: Callable[[Path], object]) -> Inflict:
    return lambda kept: change(kept.volume.owner)


def database(number: int, change: Callable[[bytes], bytes]) -> Inflict:
    def inflict(kept: DuckDBFile) -> None:
        path = generation(kept, number) / kept.volume.database.name
        path.write_bytes(change(path.read_bytes()))

    return inflict


def lost_database(kept: DuckDBFile) -> None:
    (generation(kept, 3) / kept.volume.database.name).unlink()


def _half(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


LOST_LINKS = [
    Case("the link is gone", lambda kept: current(kept).unlink(), "published/current"),
    Case("the link leads to no generation", link("000099"), "published/current"),
    Case("the link has an odd name", link("nonsense"), "published/current"),
    Case("the link leads to itself", link("current"), "published/current"),
    Case("the link leads out of the folder", link("../runs"), "published/current"),
    Case("the link leads to a number outside", link("/tmp/000002"), "published/current"),
    Case("the link leads to a short number", link("2"), "published/current"),
    Case("an empty folder is the link", instead_of_the_link(None), "published/current"),
    Case("a text file is the link", instead_of_the_link(b"000003"), "published/current"),
    Case("an empty file is the link", instead_of_the_link(b""), "published/current"),
]
FACTS = [
    Case("facts are empty", facts(3, content(b"")), "000003/generation.json"),
    Case("facts are gone", facts(3, Path.unlink), "000003/generation.json"),
    Case("facts are garbage", facts(3, content(b"\xff{{{")), "000003/generation.json"),
    Case("facts are a list", facts(3, content(b"[1]")), "000003/generation.json"),
    Case("facts are deep", facts(3, content(b"[" * 100_000)), "000003/generation.json"),
    Case("facts are a folder", facts(3, becomes_a_folder), "000003/generation.json"),
    Case("facts of another type", facts(3, changed(size="big", at=5, base=[], run=None)), "000003/generation.json"),
    Case("facts of another number", facts(3, changed(number=1)), "000003/generation.json"),
    Case("old facts are garbage", facts(2, content(b"{")), "000002/generation.json"),
]
OWNERS = [
    Case("owner is garbage", owner(content(b"{{{")), "work/owner.json"),
    Case("owner is empty", owner(content(b"")), "work/owner.json"),
    Case("owner is a list", owner(content(b"[1]")), "work/owner.json"),
    Case("owner has no run", owner(content(b'{"base": 3}')), "work/owner.json"),
    Case("owner of another type", owner(content(b'{"run": 1, "base": "x"}')), "work/owner.json"),
    Case("owner is a folder", owner(becomes_a_folder), "work/owner.json"),
]
KINDS = [
    Case("work is a file", lambda kept: becomes_a_file(kept.volume.work), "work", heals=False),
    Case("the lock is a folder", lambda kept: becomes_a_folder(kept.volume.lock), "writer.lock", heals=False),
    Case("previews is a file", lambda kept: becomes_a_file(kept.volume.previews), "previews", heals=False),
    Case("runs is a file", lambda kept: becomes_a_file(kept.volume.runs), "runs", heals=False),
    Case(
        "the working copy is a folder",
        lambda kept: becomes_a_folder(kept.volume.database),
        "work/warehouse.duckdb",
        heals=False,
    ),
    Case(
        "the log of the working copy is a folder",
        lambda kept: becomes_a_folder(Path(f"{kept.volume.database}.wal")),
        "work/warehouse.duckdb.wal",
        heals=False,
    ),
    Case("a copy is the link", a_copy_instead_of_the_link, "published/current", heals=False),
]
# The newest build is lost with these; what was built before it is not.
DATABASES = [
    Case("the current database is cut", database(3, _half), "000003/warehouse.duckdb", heals=False),
    Case("the current database is empty", database(3, lambda _: b""), "000003/warehouse.duckdb", heals=False),
    Case(
        "the current database is longer", database(3, lambda all_: all_ + b"x"), "000003/warehouse.duckdb", heals=False
    ),
    Case(
        "the current database has another header",
        database(3, lambda whole: bytes(4096) + whole[4096:]),
        "000003/warehouse.duckdb",
        heals=False,
    ),
    Case("the current database is gone", lost_database, "published/current"),
]
OLD = [
    Case("an old database is cut", database(2, _half), "000002/warehouse.duckdb"),
    Case("an old database is gone", lambda s: (generation(s, 1) / "warehouse.duckdb").unlink(), "000001"),
    Case("a file has a generation's name", lambda s: generation(s, 9).write_text("x"), "000009"),
    Case("a folder has a generation's name", lambda s: generation(s, 9).mkdir(), "000009"),
    Case("a link has a generation's name", lambda s: generation(s, 9).symlink_to("nowhere"), "000009"),
]
