"""A running dbt, as a process of its own: its output, its end, and the ways to bring that about."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from dbtpod.dbt import parent_death


class Output(Protocol):
    """What dbt prints: its lines, until it ends."""

    def __iter__(self) -> Iterator[str]:
        """Yield each line, with its end."""

    def fileno(self) -> int:
        """Return the descriptor that it is read from."""

    def close(self) -> None:
        """Read no more."""


class Running(Protocol):
    """A running dbt."""

    @property
    def stdout(self) -> Output:
        """What it prints, standard error included; closed at its end."""

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, negative for a signal's number, or None if it still runs after that time."""

    def interrupt(self) -> None:
        """Ask dbt to stop as Ctrl-C does."""

    def kill(self) -> None:
        """End dbt and what it started."""

    def close(self) -> None:
        """Release what belongs to it, once it has ended."""


class Program:
    """A dbt in a process of its own: the executable, or another program that takes the same arguments."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, stdin: int = subprocess.DEVNULL
    ) -> None:
        self._popen = subprocess.Popen(
            parent_death.tied(*command),
            cwd=folder,
            env=environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
        assert self._popen.stdout is not None  # noqa: S101
        self.stdout: Output = self._popen.stdout

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, or None if it still runs after that time."""
        with suppress(subprocess.TimeoutExpired):
            return self._popen.wait(seconds)
        return None

    def interrupt(self) -> None:
        """Ask dbt to stop as Ctrl-C does."""
        self._popen.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End dbt and what it started."""
        os.killpg(self._popen.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close its output."""
        self.stdout.close()
