"""A dbt that lists nodes and is kept for the command after that: its import, seconds of CPU, is done once.

running = kept.first(executable, ["ls", ...], environment, folder)
...
running = kept.following(["build"], environment, folder)    # None where no dbt is kept

The process is that of `one_by_one`. The second command ends it, as if it had been the only one. One that is not asked
again ends with this process. One of another thread is not taken: the kernel kills it when the thread that made it ends.
"""

import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dbtpod.dbt.program import Output, Program, Running

# Not imported here: it imports dbt.
_ONE_BY_ONE = Path(__file__).with_name("one_by_one.py")
# The one that waits for its second command.
_waiting: list["_Process"] = []


def first(executable: str, args: Sequence[str], environment: Mapping[str, str], folder: Path) -> Running:
    """Start a command in the dbt that is kept, or in a new one, which takes another command after it."""
    token = secrets.token_hex()
    process = _started(args, environment, folder, token)
    if process is None:
        process = _Process(executable, environment, folder)
        process.take(args, environment, folder, token)
    return _First(process, token)


def following(args: Sequence[str], environment: Mapping[str, str], folder: Path) -> Running | None:
    """Start a command in the dbt that is kept, which ends with it; None where there is none."""
    return _started(args, environment, folder, "")


def _started(args: Sequence[str], environment: Mapping[str, str], folder: Path, token: str) -> "_Process | None":
    while _waiting:
        process = _waiting.pop()
        is_ours = process.thread == threading.get_ident()
        if is_ours and process.wait(0) is None and process.take(args, environment, folder, token):
            return process
        process.discard()
    return None


class _Process(Program):
    """The process; to look at it is to look at its last command."""

    def __init__(self, executable: str, environment: Mapping[str, str], folder: Path) -> None:
        # -P: or the folder of that file comes first on the path, where modules such as `profile` would hide others.
        command = [sys.executable, "-P", str(_ONE_BY_ONE), executable]
        super().__init__(command, environment, folder, subprocess.PIPE)
        self.thread = threading.get_ident()

    def take(self, args: Sequence[str], environment: Mapping[str, str], folder: Path, token: str) -> bool:
        """Have it run a command, after which it prints the token; without one it ends. False where it is gone."""
        request = {"args": list(args), "environment": dict(environment), "folder": str(folder), "token": token}
        assert self._popen.stdin is not None  # noqa: S101
        try:
            self._popen.stdin.write(json.dumps(request) + "\n")
            self._popen.stdin.flush()
        except OSError:
            return False
        return True

    def discard(self) -> None:
        """End it, if it still runs."""
        if self.wait(0) is None:
            self.kill()
            self.wait()
        self.close()

    def close(self) -> None:
        """Close its input and its output."""
        assert self._popen.stdin is not None  # noqa: S101
        with suppress(OSError):
            self._popen.stdin.close()
        super().close()


class _First:
    """The first command of a process."""

    def __init__(self, process: _Process, token: str) -> None:
        self._process = process
        self._lines = _Lines(process.stdout, token)
        self.stdout: Output = self._lines

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, or None if it still runs after that time; what it prints is read before."""
        return self._process.wait(seconds) if self._lines.code is None else self._lines.code

    def interrupt(self) -> None:
        """Ask dbt to stop as Ctrl-C does."""
        self._process.interrupt()

    def kill(self) -> None:
        """End dbt and what it started."""
        self._process.kill()

    def close(self) -> None:
        """Keep the process if the command ended by itself, and left it there."""
        if self._lines.code is None:
            self._process.discard()
        else:
            _waiting.append(self._process)


class _Lines:
    """What the first command prints; after it comes a line with the token and its exit code."""

    def __init__(self, output: Output, token: str) -> None:
        self._output = output
        self._token = token
        self.code: int | None = None

    def __iter__(self) -> Iterator[str]:
        """Yield its lines, up to that one."""
        for line in self._output:
            before, token, after = line.partition(self._token)
            if token:
                self.code = int(after)
                # It printed no end of its last line.
                if before:
                    yield before
                return
            yield line

    def fileno(self) -> int:
        """Return the descriptor of all that the process prints."""
        return self._output.fileno()

    def close(self) -> None:
        """Do nothing: the next command prints there too."""
