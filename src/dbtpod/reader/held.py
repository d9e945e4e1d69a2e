"""Files that stay open while somebody reads them: a session continues after its generation was removed.

A reader on the volume keeps what it opened; over HTTP each read is a request of its own, and the file of a removed
generation is only there for who has it open.
"""

import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate

from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import builds
from dbtpod.warehouse.lake.ducklake import DuckLake
from dbtpod.warehouse.remote import Remote
from dbtpod.warehouse.warehouse import DuckDBFile

# An HTTP session has no end that could be seen: a person may think, or have lunch.
SECONDS = 3600
# Of generations that were removed, as each takes its room on the volume.
REMOVED = 2


class Descriptor:
    """An open file, closed when nothing refers to it any more: a download outlives that it is held."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        """Close it."""
        os.close(self.number)


@dataclass(frozen=True)
class File:
    """One file of a generation, open."""

    descriptor: Descriptor
    size: int
    # Changes with any change of the file.
    etag: str
    modified: str
    identity: tuple[int, int]

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes of it; fewer only at its end."""
        return os.pread(self.descriptor.number, size, offset)


@dataclass
class _Holding:
    file: File
    used: float


@dataclass
class Held:
    """The files that are open."""

    kept: DuckDBFile | DuckLake | Remote
    seconds: float = SECONDS
    removed: int = REMOVED
    now: Callable[[], float] = time.monotonic
    _open: dict[tuple[int, str], _Holding] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def names(self) -> tuple[str, str]:
        """What there is of a generation: the warehouse, and the history of its runs."""
        return self.kept.volume.database.name, builds.HISTORY

    def file(self, number: int, name: str) -> File | None:
        """Return a file of a generation that is there, or was there while somebody read it; None else.

        WarehouseUnusable where it is damaged.
        """
        with self._lock:
            file = self._on_volume(number, name)
            if file is None and (number, name) in self._open:
                file = self._open[number, name].file
            if file is None:
                return None
            self._open[number, name] = _Holding(file, self.now())
            self._let_go()
        return file

    def newest_history(self) -> File | None:
        """Return the history of all runs up to now, as it is; None where no run has left one yet."""
        path = self.kept.volume.history / builds.HISTORY
        try:
            opened = Descriptor(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WarehouseUnusable(f"{path} cannot be opened: {error.strerror}.") from error
        return _file(opened, "h", str(path))

    def numbers(self) -> list[int]:
        """Return the generations that can be asked for, the oldest first."""
        with self._lock:
            held = {number for number, _ in self._open}
        return sorted(held | set(self.kept.generations.entries()))

    def let_go(self) -> None:
        """Close what was not read for long, and removed generations where they are too many."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        oldest_first = sorted(self._open.items(), key=lambda each: each[1].used)
        there = set(self.kept.generations.entries())
        gone = list(dict.fromkeys(number for (number, _), _ in reversed(oldest_first) if number not in there))
        for key, one in oldest_first:
            if self.now() - one.used > self.seconds or key[0] in gone[self.removed :]:
                del self._open[key]

    def _on_volume(self, number: int, name: str) -> File | None:
        """Open it; nothing that is a link, or no file, is followed or waited for."""
        published = self.kept.volume.published
        try:
            folder = os.open(published / builds.folder_name(number), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                opened = Descriptor(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder))
            finally:
                os.close(folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = self.kept.generations.unreadable(number) or f"{name} cannot be opened: {error.strerror}."
            raise WarehouseUnusable(problem) from error
        file = _file(opened, str(number), f"{name} of generation {number}")
        before = self._open.get((number, name))
        if before and (before.file.identity, before.file.etag) == (file.identity, file.etag):
            return before.file
        self._check(number, name, file.size)
        return file

    def _check(self, number: int, name: str, size: int) -> None:
        """Refuse a warehouse that has not the size that it was published with."""
        found = self.kept.generations.read(number) if name == self.names[0] else None
        if found and found[0].size != size:
            raise WarehouseUnusable(
                f"Generation {number} is damaged: its file has {size} bytes, and had {found[0].size} when it was "
                f"published. {self.kept.generations.way_back(number)}"
            )


def _file(opened: Descriptor, tag: str, what: str) -> File:
    status = os.fstat(opened.number)
    if not stat.S_ISREG(status.st_mode):
        raise WarehouseUnusable(f"{what} is no file.")
    return File(
        opened,
        status.st_size,
        f'"{tag}-{status.st_size:x}-{status.st_mtime_ns:x}"',
        formatdate(status.st_mtime, usegmt=True),
        (status.st_dev, status.st_ino),
    )
