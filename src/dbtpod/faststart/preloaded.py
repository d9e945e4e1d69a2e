"""The flow's end of a preloaded dbt: starts commands in the process of `preload`, one at a time.

    process.launch_by(Preloaded(wire, process, status).launch)

A second command beside the first, or one after the process is gone, is not started here: `launch` returns None.
"""

import json
import os
import select
import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from dbtpod.faststart.preload import READY

# What a flow waits for an import that began before its own, and for the word how a process ended.
IMPORT_SECONDS, DEATH_SECONDS = 60.0, 5.0


class Preloaded:
    """A dbt process to start commands in, until one of them ends in any way but its own.

    `wire` is the socket to it, `process` its pidfd, `status` the pipe on which its parent writes the signal that
    ended it.
    """

    def __init__(self, wire: socket.socket, process: int, status: int) -> None:
        self._wire, self._process, self._status = wire, process, status
        self._is_ready = self._is_closed = False
        # Held by the running command.
        self._busy = threading.Lock()

    def launch(self, args: Sequence[str], environment: Mapping[str, str], folder: Path) -> "Command | None":
        """Start `dbt *args`; None where the process is busy or gone, or the environment too large for one message."""
        if not self._busy.acquire(blocking=False):
            return None
        command = self._start(args, environment, folder)
        if command is None:
            self.release(is_reusable=False)
        return command

    def release(self, is_reusable: bool) -> None:
        """Take the next command, or none any more."""
        if not is_reusable and not self._is_closed:
            self.send_signal(signal.SIGKILL)
            self._wire.close()
            self._is_closed = True
        self._busy.release()

    def exit_code(self, seconds: float | None) -> int | None:
        """Wait for the running command's exit code, negative for the signal that ended its process; None: it runs."""
        message = self._receive(seconds)
        if message is None:
            return None
        if message:
            return int(message)
        # Only its parent can learn how a process ended; it writes that here.
        found = select.select([self._status], [], [], DEATH_SECONDS)[0] and os.read(self._status, 8)
        return -(int(found or b"0") or signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is gone."""
        try:
            signal.pidfd_send_signal(self._process, number)
        except ProcessLookupError:
            return

    def _start(self, args: Sequence[str], environment: Mapping[str, str], folder: Path) -> "Command | None":
        if self._is_closed:
            return None
        self._is_ready = self._is_ready or self._receive(IMPORT_SECONDS) == READY
        if not self._is_ready:
            return None
        request = json.dumps({"args": list(args), "environment": dict(environment), "folder": str(folder)}).encode()
        reader, writer = os.pipe()
        try:
            socket.send_fds(self._wire, [request], [writer])
        except OSError:
            os.close(reader)
            return None
        finally:
            os.close(writer)
        return Command(self, open(reader, encoding="utf-8", errors="replace"))  # noqa: PTH123

    def _receive(self, seconds: float | None) -> bytes | None:
        if not select.select([self._wire], [], [], seconds)[0]:
            return None
        try:
            return self._wire.recv(16)
        except ConnectionResetError:
            return b""


class Command:
    """One command of a preloaded dbt, to look at as at a process: see `dbtpod.dbt.program.Running`."""

    def __init__(self, preloaded: Preloaded, stdout: IO[str]) -> None:
        self.stdout = stdout
        self.returncode: int | None = None
        self._is_reusable = True
        self._preloaded = preloaded

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, or None if it still runs after that time."""
        if self.returncode is None:
            self.returncode = self._preloaded.exit_code(seconds)
            self._is_reusable &= (self.returncode or 0) >= 0
        return self.returncode

    def interrupt(self) -> None:
        """Ask dbt to stop as Ctrl-C does."""
        self._is_reusable = False
        self._preloaded.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the process."""
        self._is_reusable = False
        self._preloaded.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Give the process back, for the next command."""
        self.stdout.close()
        self._preloaded.release(self._is_reusable)
