"""One writer for one volume: kernel locks, which end with their holder and are never left behind.

Two are held, both `flock`:
- the volume's folder, because a mounted folder cannot be removed: whoever deletes writer.lock does not let a second
  writer in;
- the file writer.lock, because it names the holder for people, and because pods of older versions hold nothing else.

Whether they are held, the kernel alone knows. Some network filesystems cannot lock a folder. There the file has to do,
and after locking it is compared with what its path leads to: a deleted file locks out no other process.
"""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.timeout import Timeout
from dbtpod.warehouse import durable, run_lock
from dbtpod.warehouse.certificate import identity

# Often enough that a hand-over is not felt; each try is one system call.
PAUSE_SECONDS = 0.1

# FUSE is here because on Kubernetes it is object storage or sshfs: no locks, and no rename that is atomic.
NETWORK_FILESYSTEMS = ("nfs", "cifs", "smb", "9p", "afs", "fuse.", "ncpfs")

# What filesystems answer that cannot lock a folder; NFS wants it open for writing, which no folder can be.
_NO_FOLDER_LOCK = {errno.EBADF, errno.EINVAL, errno.EISDIR, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Holder:
    """Who writes to the warehouse, for the message that others get."""

    run: str
    pod: str
    since: datetime

    @classmethod
    def here(cls, what: str) -> Self:
        """Name this process, which begins to do that now."""
        return cls(what, socket.gethostname(), datetime.now(UTC))


@dataclass(frozen=True)
class _Held:
    file: int
    folder: int | None  # None: the filesystem cannot lock a folder


# What this process holds, by the lock's path; a forked child shares the locks and knows of them.
_held: dict[Path, _Held] = {}


@contextmanager
def hold(path: Path, holder: Holder, timeout: float, log: Callable[[str], None] | None = None) -> Iterator[None]:
    """Be the one writer until the block ends; WarehouseBusy names the other one after `timeout` seconds.

    A holder that dies, by whatever signal, frees the lock at once. A signal's exception ends the waiting. `tell` gets
    one line about the other one where there is a wait.
    """
    waiting = _Waiting([path], timeout, log)
    with _locked_folder(path.parent, waiting) as folder, _locked_file(path, waiting) as file:
        _write(file, holder)
        _held[path] = _Held(file, folder)
        try:
            yield
        finally:
            del _held[path]
            # Said outright: a forked child would keep the lock past our close.
            os.ftruncate(file, 0)


def check_held(path: Path) -> None:
    """WarehouseUnusable unless this process is still the one writer of the volume where `path` is."""
    held = _held.get(path)
    if held is None:
        raise WarehouseUnusable(f"This process does not hold {path}: only the one writer may change what is published.")
    if not (_is_at(held.folder, path.parent) if held.folder is not None else _is_at(held.file, path)):
        lost = path.parent if held.folder is not None else path
        raise WarehouseUnusable(
            f"{lost} was replaced while this run held its lock, so another run may write now. {_holder_text(path)}. "
            "Nothing was published. Run this again."
        )


@contextmanager
def hold_any(paths: Sequence[Path], holder: Holder, timeout: float, log: Callable[[str], None]) -> Iterator[None]:
    """Be one of so many holders until the block ends, each of a file; WarehouseBusy names them after `timeout` seconds.

    A file alone is locked, and no folder: whoever deletes it lets one more in.
    """
    waiting = _Waiting(paths, timeout, log)
    while (held := next((one for path in paths if (one := _taken(path)) is not None), None)) is None:
        waiting.pause()
    try:
        _write(held, holder)
        yield
    finally:
        # Said outright: a forked child would keep the lock past our close.
        os.ftruncate(held, 0)
        fcntl.flock(held, fcntl.LOCK_UN)
        os.close(held)


def _taken(path: Path) -> int | None:
    with durable.volume_errors(path.parent, 0, f"the lock {path}"):
        return run_lock.take(path)


@contextmanager
def hold_folder(path: Path, timeout: float) -> Iterator[None]:
    """Hold only the lock of the folder where `path` is: for the repair of `path` itself."""
    with _locked_folder(path.parent, _Waiting([path], timeout, None)):
        yield


class _Waiting:
    """One deadline and one message for both locks."""

    def __init__(self, paths: Sequence[Path], timeout: float, log: Callable[[str], None] | None) -> None:
        # One of them has to be free.
        self._paths = paths
        self._timeout = Timeout(timeout)
        self._log = log

    def take(self, descriptor: int) -> None:
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self.pause(error)

    def pause(self, reason: BaseException | None = None) -> None:
        seconds = self._timeout.seconds
        if self._timeout.is_over:
            raise WarehouseBusy(_busy_text(self._paths, seconds)) from reason
        if self._log:
            self._log(f"Waiting for the warehouse, {seconds:.0f} s at most. {_holders(self._paths)}.")
            self._log = None
        self._timeout.pause(PAUSE_SECONDS)


@contextmanager
def _locked_folder(folder: Path, waiting: _Waiting) -> Iterator[int | None]:
    with durable.volume_errors(folder, 0, f"the lock on {folder}"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        locked = _can_lock(descriptor, waiting)
        try:
            yield descriptor if locked else None
        finally:
            if locked:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _can_lock(descriptor: int, waiting: _Waiting) -> bool:
    try:
        waiting.take(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_LOCK:
            raise
        return False
    return True


@contextmanager
def _locked_file(path: Path, waiting: _Waiting) -> Iterator[int]:
    while True:
        if path.is_dir():
            raise WarehouseUnusable(f"{path} is a folder where the lock's file belongs. Move it away: {durable.REPAIR}")
        with durable.volume_errors(path.parent, 0, f"the lock {path}"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            waiting.take(descriptor)
            if _is_at(descriptor, path):
                try:
                    yield descriptor
                finally:
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                return
        finally:
            os.close(descriptor)
        # The path leads to another file since: that one is the lock.
        waiting.pause()


def _is_at(descriptor: int, path: Path) -> bool:
    status = os.fstat(descriptor)
    try:
        return identity(path) == (status.st_dev, status.st_ino)
    except OSError:
        return False


def _write(descriptor: int, holder: Holder) -> None:
    text = json.dumps({"run": holder.run, "pod": holder.pod, "since": holder.since.isoformat(timespec="seconds")})
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    except OSError:
        # A full volume: the lock holds all the same, and the step that needs room will say so.
        return


def _holder_text(path: Path) -> str:
    try:
        by = json.loads(path.read_bytes()[:4096])
        return f"The run {by['run']!r} (pod {by['pod']}) has been writing since {by['since']}"
    except FileNotFoundError:
        return f"Another run is writing ({path} was deleted, so its name is not known)"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "Another run is writing"


def _holders(paths: Sequence[Path]) -> str:
    return "; ".join(map(_holder_text, paths))


def _busy_text(paths: Sequence[Path], timeout: float) -> str:
    return (
        f"{_holders(paths)}: it holds {', '.join(map(str, paths))}, and {timeout:.0f} s of waiting did not see it end. "
        "Let it finish or cancel it, then run this again; the lock goes with its holder, there is no file to remove."
    )


def check_filesystem(volume: Path, allow_network: bool, mounts: Path = Path("/proc/self/mountinfo")) -> None:
    """Refuse a volume on a network filesystem, whose locks two nodes cannot trust; where there is no /proc, pass."""
    if allow_network or not mounts.exists():
        return
    kind = filesystem(mounts.read_text(), volume.resolve())
    if kind.startswith(NETWORK_FILESYSTEMS) or kind == "fuse":
        raise WarehouseUnusable(
            f"The volume {volume} is on a network filesystem ({kind}), which keeps no lock that two nodes can trust: "
            "two writers could damage the DuckDB file. Use a block volume (a disk of one node). If you know that "
            "its locks hold, set warehouse.allowNetworkFilesystem: true in the chart's values, or "
            "DBTPOD_ALLOW_NETWORK_FILESYSTEM=true."
        )


def filesystem(mountinfo: str, path: Path) -> str:
    """Return the type of the filesystem that holds `path`, from the text of /proc/self/mountinfo; pure."""
    found, kind = Path("/"), "unknown"
    for line in mountinfo.splitlines():
        mount, _, details = line.partition(" - ")
        # Spaces and the like are octal there.
        point = Path(mount.split()[4].encode().decode("unicode_escape").encode("latin-1").decode())
        # The last of two mounts at one point covers the first.
        if path.is_relative_to(point) and len(point.parts) >= len(found.parts):
            found, kind = point, details.split()[0]
    return kind
