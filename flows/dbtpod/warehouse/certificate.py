"""What says that a working copy is a complete build: made by `complete.certify` alone, asked for by `publish`."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """The run that built the file, and the very file, whatever name it has."""

    run_id: str
    device: int
    inode: int


def identity(path: Path) -> tuple[int, int]:
    """Return the device and the inode of a file."""
    found = path.stat()
    return found.st_dev, found.st_ino
