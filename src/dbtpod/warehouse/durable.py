"""File operations that outlive a power cut, and that say what is wrong with the volume where they fail."""

import errno
import fcntl
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dbtpod.errors import VolumeFull, WarehouseUnusable

# Linux's ioctl that lets two files share their blocks (XFS, btrfs, some CSI volumes); Python has no name for it.
FICLONE = 0x40049409
# Large enough to be one long system call, small enough that a signal is seen soon.
COPY_BYTES = 64 << 20
# What people enter to look at the volume, and to have it put right.
CHECK = "dbtpod generations check"
REPAIR = "dbtpod generations repair"
# What a filesystem answers that gives a file no second name.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
# EFBIG: a process or quota limit on the size of files, which is the same to the user.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def volume_errors(folder: Path, needed: int, purpose: str) -> Iterator[None]:
    """Turn what the system says against the block into our errors: VolumeFull with both sizes, or WarehouseUnusable."""
    try:
        yield
    except OSError as error:
        # Without a number it is not the system's, but somebody's exception of that kind.
        if error.errno is None:
            raise
        if error.errno in FULL:
            raise volume_full(folder, needed, purpose) from error
        reason = _reason(folder, error)
        raise WarehouseUnusable(f"The volume of {folder} cannot be used, for {purpose}: {reason}") from error


def _reason(folder: Path, error: OSError) -> str:
    path = Path(error.filename) if isinstance(error.filename, str | os.PathLike) else folder
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        there = _there(path)
        for one in (there.parent, there):
            if os.path.exists(one) and (problem := access_problem(one, os.R_OK | os.W_OK)):  # noqa: PTH110
                return problem
    return f"{error.strerror}: {path}. To see what is wrong with the volume: {CHECK}"


def access_problem(path: Path, right: int) -> str:
    """Say why this process has not the `right` (os.R_OK, os.W_OK) to the file or folder, and what to do; "" if it has.

    A volume that is mounted read-only and a folder of another user give the same error, and need different cures.
    """
    if os.access(path, right):
        return ""
    if right & os.W_OK and os.statvfs(path).f_flag & os.ST_RDONLY:
        return (
            f"{path} is on a volume that is mounted read-only, and a run that builds must write to it. Look for "
            "readOnly: true at the pod's volume or mount. A disk error makes the kernel do the same: see the node's "
            "kernel log. Runs that only read continue."
        )
    status = path.stat()
    verb = "write to" if right & os.W_OK else "read"
    return (
        f"uid {os.getuid()} (gid {os.getgid()}) may not {verb} {path}: it belongs to uid {status.st_uid} and gid "
        f"{status.st_gid}, with mode {stat.S_IMODE(status.st_mode):04o}. In a pod set podSecurityContext.fsGroup, by "
        "which Kubernetes gives its group the volume. A volume that ignores fsGroup (hostPath, NFS) needs, as root: "
        f"chown -R {os.getuid()}:{os.getgid()} {path}"
    )


def _there(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if os.path.lexists(one))


def volume_full(folder: Path, needed: int, purpose: str) -> VolumeFull:
    """Make the error that names both sizes, the folder, and the ways out."""
    amount = size_text(needed) if needed else "more"
    return VolumeFull(
        f"No space left on the volume of {folder}: {purpose} needs {amount}, and {size_text(free(folder))} is free. "
        "The published build is as it was. Enlarge the claim, keep fewer generations (warehouse.keepGenerations), or "
        "build in place (warehouse.publish: false)."
    )


def free(folder: Path) -> int:
    """Return the bytes that this user may still write to the volume of a folder, which may be about to be made."""
    status = os.statvfs(_there(folder))
    return status.f_bavail * status.f_frsize


def size_text(size: int) -> str:
    """Write a number of bytes for people: 0.3 MB, 12.0 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def is_file(path: Path) -> bool:
    """Say whether there is a file; no where one may not look, where Path's own method raises."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Say whether there is a folder; no where one may not look, where Path's own method raises."""
    return os.path.isdir(path)  # noqa: PTH112


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Replace a small file as a whole: after a crash it is the old one or the new one."""
    fresh = path.with_name(f".{path.name}.tmp")
    try:
        with fresh.open("w") as file:
            json.dump(values, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync(path.parent)


def link(source: Path, target: Path) -> bool:
    """Give the file a second name; False where the filesystem gives it none."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    return True


def clone(source: Path, target: Path) -> bool:
    """Make `target` share the blocks of `source`; False where the filesystem cannot, with an empty `target` left."""
    with source.open("rb") as old, target.open("wb") as new:
        if sys.platform != "linux":
            return False
        try:
            fcntl.ioctl(new, FICLONE, old.fileno())
        except OSError:
            return False
    return True


def copy(source: Path, target: Path) -> None:
    """Copy the bytes inside the kernel where it can."""
    if sys.platform != "linux":
        shutil.copyfile(source, target)
        return
    try:
        with source.open("rb") as old, target.open("wb") as new:
            while os.copy_file_range(old.fileno(), new.fileno(), COPY_BYTES):
                pass
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL):
            raise
    # Some filesystems have no such call, and a few answer it with nothing copied.
    if target.stat().st_size != source.stat().st_size:
        shutil.copyfile(source, target)
