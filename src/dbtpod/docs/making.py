"""The process that makes one file: started with bounds of its time and its memory, and what its end means."""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dbtpod import settings
from dbtpod.dbt import parent_death
from dbtpod.docs import make


@dataclass(frozen=True)
class Bounds:
    """What one file may take."""

    seconds: float = 600
    # Of address space; 1,000 models take a third of it.
    memory: int = 1 << 30
    # Of the file.
    size: int = 1 << 28


BOUNDS = Bounds()


class Making:
    """A running one."""

    def __init__(self, kind: str, database: Path, target: Path, bounds: Bounds) -> None:
        self._bounds = bounds
        program = (sys.executable, "-P", "-m", make.__name__)
        arguments = (kind, database, target, bounds.memory, bounds.size)
        self._process = subprocess.Popen(
            parent_death.tied(*program, *map(str, arguments)),
            env=settings.of_helper(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )

    def problem(self) -> str:
        """Wait for its end; say why there is no file, or "" where there is."""
        try:
            said, errors = self._process.communicate(timeout=self._bounds.seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            return f"It took longer than {self._bounds.seconds:.0f} s."
        return _meaning(self._process.returncode, said, errors, self._bounds)

    def kill(self) -> None:
        """End it."""
        self._process.kill()


def _meaning(code: int, said: str, errors: str, bounds: Bounds) -> str:
    if code == 0:
        return ""
    if code == make.UNUSABLE:
        return said.strip()
    if code == make.OUT_OF_MEMORY or "MemoryError" in errors or "std::bad_alloc" in errors:
        return f"It needs more than {bounds.memory >> 20} MiB of memory."
    if code < 0:
        name = signal.Signals(-code).name
        return f"It was ended by {name}, as when memory runs out; it may use {bounds.memory >> 20} MiB."
    last = errors.strip().splitlines()[-1:] or ["nothing"]
    return f"It ended with exit code {code}, and said: {last[0]}"
