"""One process for one flow run: a kernel lock on runs/<flow run>.lock, which ends with the process that holds it.

The holder removes the file at its end. One that is left and not held shows that its run's process died.
"""

import fcntl
import math
import os
from pathlib import Path

_SUFFIX = ".lock"


def path(runs_dir: Path, run_id: str) -> Path:
    """Return the file that stands for the run; beside its folder, which goes when the run restarts."""
    return runs_dir / f"{run_id}{_SUFFIX}"


def take(file: Path) -> int | None:
    """Take the lock if it is free; the descriptor that holds it, or None. OSError where the volume cannot keep it."""
    file.parent.mkdir(exist_ok=True)
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        if _is(file, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder removed it between our open and our lock


def is_held(file: Path) -> bool:
    """Say whether a process holds it, and change nothing; no where there is no file."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def drop(file: Path, descriptor: int) -> None:
    """Remove the file and give the lock back."""
    file.unlink(missing_ok=True)
    # Said outright: a forked child would keep the lock past our close.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def left_behind(runs_dir: Path, changed_before: float = math.inf) -> list[tuple[str, Path, int]]:
    """Take each lock that is not held: the run's id, its file and the descriptor, for `drop`.

    Only files older than that time, in seconds since the epoch: a pod of the run may still come back for it.
    """
    old = (file for file in sorted(runs_dir.glob(f"*{_SUFFIX}")) if file.stat().st_mtime < changed_before)
    found = [(file, take(file)) for file in old]
    return [(file.name.removesuffix(_SUFFIX), file, held) for file, held in found if held is not None]


def _is(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
