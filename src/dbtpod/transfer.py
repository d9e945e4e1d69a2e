"""What `dbtpod export` and `dbtpod import` do: a generation taken out of the warehouse, checked, and brought in.

Each function gives the lines to print, as in `generations`; `say` prints at once, beside what goes through a pipe.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from dbtpod.errors import ExportUnusable
from dbtpod.generations import Found, published
from dbtpod.warehouse import archive, database, durable, export, intake, lock
from dbtpod.warehouse.archive import Source
from dbtpod.warehouse.facts import Generation

# Instead of a file: standard input or output.
PIPE = "-"
STANDARD_INPUT = "The stream"
# A build is worth waiting for, after all the time that it took to receive this.
LOCK_SECONDS = 3600.0


def take_out(number: int | None, file: str, say: Callable[[str], None]) -> Found:
    """Export a generation, the current one where no number is given, into a file or through a pipe."""
    with published("export") as kept:
        if file != PIPE:
            with export.file(Path(file)) as send:
                chosen, size = export.send(kept.generations, number, send)
            return [f"{file}: {_export_text(chosen, size)}"], []
        if sys.stdout.isatty():
            raise ExportUnusable("An export is not for a terminal: dbtpod export current FILE, or a pipe.")
        pipe = export.Pipe(sys.stdout.fileno())
        chosen, size = export.send(kept.generations, number, pipe.send)
    say(f"Sent: {_export_text(chosen, size)}")
    if (seconds := pipe.seconds_on_the_way()) >= 1:
        say(f"Waiting for the receiver, {seconds:.0f} s at most: kubectl drops what is on its way when this ends.")
    pipe.wait(seconds)
    return [], []


def _export_text(chosen: Generation, size: int) -> str:
    return f"generation {chosen.number}, built by {chosen.run}, {durable.size_text(size)}."


def bring_in(file: str, say: Callable[[str], None]) -> Found:
    """Make an export, or a DuckDB file as it is, the next generation, and current."""
    with published("import", writes=True) as kept, _source(file) as source:
        lock.check_filesystem(kept.volume.root, kept.allow_network_filesystem)
        left = kept.generations.pointer().number
        with intake.receive(kept.volume, source) as received:
            say(f"{source.name} is whole: {durable.size_text(received.database.stat().st_size)}.")
            made = intake.publish(kept.publisher, received, LOCK_SECONDS, say)
    undo = f" To undo: dbtpod generations rollback {left}" if left and kept.publisher.keep > 1 else ""
    return [f"Readers now see generation {made.number}: {made.run}. The next build begins from it.{undo}"], []


def examine(file: str) -> Found:
    """Read an export, or a DuckDB file, to its last byte, and keep nothing; it needs no volume."""
    with _source(file) as source:
        if not archive.is_like(source):
            return _examine_database(source)
        header, names = archive.read(source, lambda _: None, _nowhere)
    text = f"generation {header.generation} of {header.database}, {len(names)} files, {durable.size_text(header.size)}"
    return [f"{source.name} is a whole export: {text}."], []


@contextmanager
def _nowhere(_: str) -> Iterator[BinaryIO]:
    with Path(os.devnull).open("wb") as file:
        yield file


def _examine_database(source: Source) -> Found:
    intake.check_file_kind(source)
    if source.name == STANDARD_INPUT:
        raise ExportUnusable("A DuckDB file cannot be checked as it comes through a pipe: give the file.")
    database.check_all(Path(source.name))
    return [f"{source.name} is a whole DuckDB file, {durable.size_text(source.size)}."], []


@contextmanager
def _source(file: str) -> Iterator[Source]:
    if file == PIPE and sys.stdin.isatty():
        raise ExportUnusable("An export does not come from a terminal: dbtpod import FILE, or a pipe.")
    name = STANDARD_INPUT if file == PIPE else file
    try:
        opened = FileIO(sys.stdin.fileno() if file == PIPE else file)
    except OSError as error:
        raise ExportUnusable(f"{name} cannot be read: {error.strerror}.") from error
    with opened:
        yield Source(name, opened)
