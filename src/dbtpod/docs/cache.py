"""The files that were made, each under its generation's number and its database's identity; bounded by size.

A generation's number is never used again. The identity is for a volume that was put in the place of another.
"""

import importlib.metadata
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbtpod.warehouse.facts import Generation

_NAMES = {"docs": "docs.html", "lineage": "lineage.json"}
# What a process that died left behind.
_ORPHAN_SECONDS = 3600


@dataclass(frozen=True)
class Cache:
    """A folder of ours alone; what is in it can be made again."""

    folder: Path
    size: int

    def file(self, generation: Generation, kind: str) -> Path:
        """Return where the file of a generation belongs; FileNotFoundError where the generation is gone."""
        return self.folder / key(generation) / _NAMES[kind]

    def look_up(self, path: Path) -> bool:
        """Say whether it is there; it is then the last one to go."""
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def making(self) -> Iterator[Path]:
        """Give a name for a file in the making."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=self.folder) as folder:
            yield Path(folder) / "file"

    def put(self, made: Path, path: Path) -> None:
        """Give a file its place: it is there whole, or not at all."""
        path.parent.mkdir(exist_ok=True)
        made.replace(path)

    def prune(self, kept: Iterable[Generation]) -> None:
        """Remove what is of other generations, then what was not asked for for the longest time, down to the size."""
        keys = set()
        for generation in kept:
            try:
                keys.add(key(generation))
            except FileNotFoundError:  # removed since
                continue
        for folder in self.folder.iterdir():
            is_orphan = folder.name.startswith(".") and time.time() - folder.stat().st_mtime > _ORPHAN_SECONDS
            if is_orphan or (folder.name not in keys and not folder.name.startswith(".")):
                shutil.rmtree(folder, ignore_errors=True)
        files = sorted(self.folder.glob("[0-9]*/*"), key=lambda path: path.stat().st_mtime)
        total = sum(path.stat().st_size for path in files)
        # One stays, whatever its size: it was asked for just now.
        for path in files[:-1]:
            if total <= self.size:
                break
            total -= path.stat().st_size
            path.unlink()


def key(generation: Generation) -> str:
    """Return the name of a generation's folder; FileNotFoundError where the generation is gone."""
    status = generation.database.stat()
    version = importlib.metadata.version("dbtpod")
    return f"{generation.number:06d}-{status.st_ino}-{status.st_mtime_ns}-{status.st_size}-{version}"
