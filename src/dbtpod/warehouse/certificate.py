"""What publishing asks for: the word that one run's build is complete, and which file that build is."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """The run `run_id` built this file to its end; a file of another inode is another run's, whatever its name."""

    run_id: str
    # None where there is no file: the data is in a database server.
    device: int | None = None
    inode: int | None = None


def identity(path: Path) -> tuple[int, int]:
    """Return the device and the inode of a file: a rename keeps them, and a new file of the same name has others."""
    status = path.stat()
    return status.st_dev, status.st_ino
