"""A generation on its way out: into a file, or through a pipe that may end in a connection.

It needs no lock and no right to write. The files are opened before the first is read, so that a generation which is
removed meanwhile is whole all the same.
"""

import os
import select
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dbtpod.errors import ExportUnusable, WarehouseUnusable
from dbtpod.warehouse import archive, database, durable
from dbtpod.warehouse.archive import Header
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.generations import Generations

# `kubectl exec` drops what is still on its way when the command in the pod ends: on a connection of 4 to 7 MB/s the
# last 10 to 40 MB were lost, and with a pause before the end nothing (kubernetes/kubectl#1361, kubernetes#124571).
ON_ITS_WAY = 64_000_000
# Where it is not known how fast the connection is, because all of it may be on its way at once.
SLOW = 4_000_000
LONGEST_PAUSE_SECONDS = 120.0


def send(generations: Generations, number: int | None, out: Callable[[bytes], object]) -> tuple[Generation, int]:
    """Send a generation, the current one where no number is given; which one it was, and the bytes of its files.

    WarehouseUnusable where it is damaged: an export of it would be no way back.
    """
    with _opened(generations, number) as (chosen, files):
        size = sum(os.fstat(file.fileno()).st_size for file in files.values())
        header = Header(chosen.database.name, chosen.number, size)
        try:
            archive.write(out, header, files, int(chosen.at.timestamp()))
        except EOFError as error:
            raise WarehouseUnusable(f"Generation {chosen.number} was written to: {error}. {durable.CHECK}") from error
    return chosen, size


@contextmanager
def _opened(generations: Generations, number: int | None) -> Iterator[tuple[Generation, Mapping[str, BinaryIO]]]:
    with ExitStack() as stack:
        chosen = None
        while chosen is None:
            # It may be removed between any two of these: then the next look finds another one, or none.
            with suppress(FileNotFoundError):
                found = _choose(generations, number)
                paths = {name: found.database.parent / name for name in _names(found)}
                files = {name: stack.enter_context(path.open("rb")) for name, path in paths.items()}
                chosen = found
        # A file of a newer DuckDB is whole, and somebody may need it exactly because of that.
        with suppress(database.NewerFormat):
            generations.check_whole(chosen)
        yield chosen, files


def _choose(generations: Generations, number: int | None) -> Generation:
    number = generations.current() if number is None else number
    if number is None:
        raise WarehouseUnusable(
            f"Nothing is published in {generations.volume.published} yet: there is nothing to export."
        )
    return generations.find(number)


def _names(chosen: Generation) -> list[str]:
    """Return the files of a generation by their path in it, those of its folders too; FileNotFoundError: it is gone."""
    folder = chosen.database.parent
    paths = (Path(root) / name for root, _, names in os.walk(folder) for name in names)
    found = sorted(str(path.relative_to(folder)) for path in paths if path.is_file() and not path.is_symlink())
    if chosen.database.name not in found:
        raise FileNotFoundError(chosen.database)
    return [name for name in found if archive.is_content(name)]


@contextmanager
def file(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Give what writes a file that gets its name when the block has ended well; after an error nothing is left."""
    if path.is_dir():
        raise ExportUnusable(f"{path} is a folder: give a file's name.")
    unfinished = path.with_name(f".{path.name}.tmp")

    def send(piece: bytes) -> None:
        with _written(path):
            opened.write(piece)

    try:
        with _written(path), unfinished.open("wb") as opened:
            yield send
            opened.flush()
            os.fsync(opened.fileno())
        with _written(path):
            unfinished.replace(path)
    finally:
        with suppress(OSError):
            unfinished.unlink()


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportUnusable(f"{path} cannot be written: {error.strerror}. Nothing of it was kept.") from error


class Pipe:
    """Where a command's output goes, which another process reads."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._sent = 0
        # When all places on the way were full for the first time: from then on it goes as fast as the connection.
        self._full_at = 0.0

    def send(self, piece: bytes) -> None:
        """Send all of it; ExportUnusable where the receiver is gone."""
        left = memoryview(piece)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BrokenPipeError as error:
                raise ExportUnusable(f"The receiver ended after {self._sent} bytes: it has no whole export.") from error
        self._sent += len(piece)
        if not self._full_at and self._sent >= ON_ITS_WAY:
            self._full_at = time.monotonic()

    def seconds_on_the_way(self) -> float:
        """Say how long the last bytes may be on their way to the receiver, at the pace of those before them."""
        if not stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
            return 0
        passed = self._sent - ON_ITS_WAY
        pace = passed / max(time.monotonic() - self._full_at, 1e-3) if passed >= ON_ITS_WAY else SLOW
        return min(min(self._sent, ON_ITS_WAY) / pace, LONGEST_PAUSE_SECONDS)

    def wait(self, seconds: float) -> None:
        """Wait for them, or until the receiver has ended because it has all of it."""
        polling = select.poll()
        polling.register(self._descriptor, 0)
        polling.poll(seconds * 1000)
