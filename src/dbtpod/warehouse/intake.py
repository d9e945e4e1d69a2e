"""From an export, or from a DuckDB file as it is, to the next generation.

published/.import-1f3a.tmp/   what is received, where no reader looks
published/.import-1f3a.lock   held by the process that receives it, see run_lock

It is received and checked without the writer's lock, as that can take as long as somebody's connection is slow. Then,
under the lock, the folder becomes a generation by one rename, and the current one by a second. What a process leaves
that dies before, the next run that builds removes, and the next import does.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from dbtpod.errors import ExportUnusable, WarehouseUnusable
from dbtpod.warehouse import archive, database, durable, facts, lock, run_lock
from dbtpod.warehouse.archive import Header, Source
from dbtpod.warehouse.builds import FACTS
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.publish import Publisher, switch
from dbtpod.warehouse.volume import Volume

# Compressed files begin with these, and the program that undoes it.
_COMPRESSED = {b"\x1f\x8b": "gzip -dc", b"\x28\xb5\x2f\xfd": "zstd -dc", b"BZh": "bzip2 -dc", b"\xfd7zXZ": "xz -dc"}


@dataclass(frozen=True)
class Received:
    """A build that is whole and on the disk, and not published yet."""

    folder: Path
    database: Path
    # As generation.json has them: what built it, and the DuckDB that wrote it; None where that is not known.
    run: str
    duckdb: str | None


@contextmanager
def receive(volume: Volume, source: Source) -> Iterator[Received]:
    """Receive and check an export or a DuckDB file; what is not published when the block ends is removed.

    ExportUnusable where it is cut, damaged, of a newer DuckDB, or something else. VolumeFull where there is no room.
    """
    with volume.errors("an import"), _place(volume) as folder:
        path = folder / volume.database.name
        kind = _receive_export if archive.is_like(source) else _receive_file
        received = kind(source, path)
        # The sender of a pipe may wait for this.
        source.close()
        for one in folder.rglob("*"):
            durable.sync(one)
        durable.sync(folder)
        yield received


@contextmanager
def _place(volume: Volume) -> Iterator[Path]:
    volume.published.mkdir(exist_ok=True)
    remove_dead(volume)
    held = None
    while held is None:
        file = volume.published / f".import-{uuid.uuid4().hex[:8]}.lock"
        held = run_lock.take(file)
    folder = file.with_suffix(".tmp")
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        run_lock.drop(file, held)


def remove_dead(volume: Volume) -> None:
    """Remove what is left of imports whose process died."""
    for file in volume.published.glob(".import-*.lock"):
        if (held := run_lock.take(file)) is not None:
            durable.remove(file.with_suffix(".tmp"))
            run_lock.drop(file, held)


def is_alive(unfinished: Path) -> bool:
    """Say whether this may be the folder of a running import: its lock is made before it, and removed after."""
    return unfinished.with_suffix(".lock").exists()


def _receive_export(source: Source, path: Path) -> Received:
    def begin(header: Header) -> None:
        if header.database != path.name:
            raise ExportUnusable(
                f"{source.name} is an export of {header.database}, and the warehouse here is {path.name}. Views hold "
                f"the name of their file: import it where DUCKDB_PATH ends in {header.database}."
            )
        _check_room(path.parent, header.size)

    def create(name: str) -> BinaryIO:
        target = path.parent / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.open("wb")

    header, names = archive.read(source, begin, create)
    if path.name not in names:
        raise ExportUnusable(f"{source.name} holds no {path.name}.")
    with _named(source, path):
        database.check_database(path)
    made, _ = facts.generation(path.with_name(FACTS), header.generation, path)
    return Received(path.parent, path, f"import of {made.number} by {made.run}", made.duckdb)


def _receive_file(source: Source, path: Path) -> Received:
    check_file_kind(source)
    _check_room(path.parent, source.size)
    with path.open("wb") as file:
        while piece := source.read(archive.PIECE):
            file.write(piece)
    with _named(source, path):
        database.check_all(path)
    return Received(path.parent, path, "import", None)


def check_file_kind(source: Source) -> None:
    """ExportUnusable where it is neither an export nor a DuckDB file, with what it seems to be."""
    beginning = source.beginning
    if not beginning:
        raise ExportUnusable(f"{source.name} is empty: what was to send it sent nothing.")
    for magic, command in _COMPRESSED.items():
        if beginning.startswith(magic):
            raise ExportUnusable(f"{source.name} is compressed. Import it so: {command} FILE | dbtpod import -")
    if not database.is_like(beginning):
        raise ExportUnusable(f"{source.name} is neither an export of dbtpod nor a DuckDB file.")


def _check_room(folder: Path, size: int) -> None:
    if durable.free(folder) < size:
        raise durable.volume_full(folder, size, "an import")


@contextmanager
def _named(source: Source, path: Path) -> Iterator[None]:
    """Have what is said against the file name what the user knows."""
    try:
        yield
    except WarehouseUnusable as error:
        # Not what to do with a file that stays.
        said = str(error).replace(str(path), source.name).partition(" Nothing was deleted.")[0]
        raise ExportUnusable(f"Not imported: {said}") from error


def publish(publisher: Publisher, received: Received, timeout: float, log: Callable[[str], None]) -> Generation:
    """Make it the next generation, and current; WarehouseBusy where another one writes for longer than `timeout`."""
    volume = publisher.volume
    holder = lock.Holder.here(received.run)
    with volume.errors("an import"), lock.hold(volume.lock, holder, timeout, log):
        made = publisher.describe(publisher.generations, received.run, received.database.stat().st_size)
        made = replace(made, duckdb=received.duckdb or made.duckdb)
        # All that takes room comes first.
        durable.write_json(received.folder / FACTS, facts.as_json(made))
        link = publisher.link(made.number)
        try:
            lock.check_held(volume.lock)
            received.folder.rename(made.database.parent)
            durable.sync(volume.published)
            switch(link)
        except BaseException:
            _undo(publisher, received, made, link)
            raise
        # It is published; what cannot be removed fails the next run, at its start.
        with suppress(OSError):
            publisher.prune()
    return made


def _undo(publisher: Publisher, received: Received, made: Generation, link: Path) -> None:
    if publisher.generations.pointer().number == made.number:
        return  # readers see it already
    if made.database.parent.exists():
        made.database.parent.rename(received.folder)
    link.unlink(missing_ok=True)
