"""The folders of each run in `runs/`, and whether one changed since it was read.

A run has one folder, and a second one where it read before it built: `<flow run id>-freshness`.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dbtpod.history import record
from dbtpod.history.record import Record

_SECOND = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-[a-z]+")
_COMMAND = re.compile(r"([0-9]+)-")
_ATTEMPT = re.compile(r"attempt-([0-9]+)")
# What is read of an attempt.
FILES = ("attempt.json", "events.jsonl", "run_results.json", "sources.json")
# Written when a run begins, before any command.
_PROJECT = "project"


@dataclass(frozen=True)
class Folder:
    """All that one run left."""

    run_id: str
    # The one for what it built is the last.
    paths: tuple[Path, ...]

    @cached_property
    def record(self) -> Record | None:
        """What the run says of itself; not what another one did, which it continues."""
        found = [record.read(path / record.FILE) for path in self.paths]
        own = [one for one in found if one and one.run_id == self.run_id]
        return own[-1] if own else None

    def attempts(self) -> Iterator[tuple[int, int, Path]]:
        """Give each attempt with the numbers of its command and its own; what was read before a build comes first."""
        for position, path in enumerate(self.paths):
            before = len(self.paths) - 1 - position
            for number, command in _numbered(path, _COMMAND):
                for attempt, folder in _numbered(command, _ATTEMPT):
                    yield number - before, attempt, folder

    @property
    def stamp(self) -> str:
        """What is another whenever anything of it is."""
        files = [path / record.FILE for path in self.paths]
        files += [folder / name for _, _, folder in self.attempts() for name in FILES]
        seen = [(str(file.relative_to(self.paths[0].parent)), _changed(file)) for file in files]
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    @property
    def began(self) -> float:
        """Its age among others, also where it does not say: one that continues another began later than that."""
        times = [one.started.timestamp() for one in self.record.starts] if self.record else []
        marks = [path / _PROJECT for path in self.paths if (path / _PROJECT).is_file()]
        return min(times or [mark.stat().st_mtime for mark in marks or self.paths])


def all_in(runs: Path) -> list[Folder]:
    """Return the folders of all runs, the oldest first."""
    found: dict[str, list[Path]] = {}
    for path in sorted(runs.iterdir(), reverse=True) if runs.is_dir() else ():
        if path.is_dir() and not path.name.startswith("."):
            second = _SECOND.fullmatch(path.name)
            found.setdefault(second[1] if second else path.name, []).append(path)
    return sorted((Folder(run_id, tuple(paths)) for run_id, paths in found.items()), key=lambda one: one.began)


def _numbered(folder: Path, name: re.Pattern[str]) -> list[tuple[int, Path]]:
    matches = ((name.match(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in matches if match and path.is_dir())


def _changed(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
