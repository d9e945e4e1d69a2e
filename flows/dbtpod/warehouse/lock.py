"""One writer for one volume: a kernel lock, which ends with its holder and is never left behind.

The lock is `flock` on a file that is never unlinked: unlinking would split those who wait over two inodes. What the
file says is only for people; whether it is held, the kernel alone knows.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.warehouse import durable

# Often enough that a hand-over is not felt; each try is one system call.
PAUSE_SECONDS = 0.1

# FUSE is here because on Kubernetes it is object storage or sshfs: no locks, and no rename that is atomic.
NETWORK_FILESYSTEMS = ("nfs", "cifs", "smb", "9p", "afs", "fuse.", "ncpfs")


@dataclass(frozen=True)
class Holder:
    """Who writes to the warehouse, for the message that others get."""

    run: str
    pod: str
    since: datetime


@contextmanager
def hold(path: Path, holder: Holder, timeout: float, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Be the one writer until the block ends; WarehouseBusy names the other one after `timeout` seconds.

    A holder that dies, by whatever signal, frees the lock at once. A signal's exception ends the waiting. `tell` gets
    one line about the other one where there is a wait.
    """
    with durable.room(path.parent, 0, f"the lock {path}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        _wait(descriptor, path, timeout, tell)
        _write(descriptor, holder)
        try:
            yield
        finally:
            # Said outright: a forked child would keep the lock past our close.
            os.ftruncate(descriptor, 0)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, timeout: float, tell: Callable[[str], None] | None) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WarehouseBusy(_busy_text(descriptor, path, timeout)) from error
            if tell:
                tell(f"Waiting for the warehouse, {timeout:.0f} s at most. {_holder_text(descriptor)}.")
                tell = None
        time.sleep(min(PAUSE_SECONDS, left))


def _write(descriptor: int, holder: Holder) -> None:
    text = json.dumps({"run": holder.run, "pod": holder.pod, "since": holder.since.isoformat(timespec="seconds")})
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    except OSError:
        # A full volume: the lock holds all the same, and the step that needs room will say so.
        return


def _holder_text(descriptor: int) -> str:
    try:
        by = json.loads(os.pread(descriptor, 4096, 0))
        return f"The run {by['run']!r} (pod {by['pod']}) has been writing since {by['since']}"
    except (ValueError, KeyError, TypeError):
        return "Another run is writing"


def _busy_text(descriptor: int, path: Path, timeout: float) -> str:
    return (
        f"{_holder_text(descriptor)}: it holds {path}, and {timeout:.0f} s of waiting did not see it end. "
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
