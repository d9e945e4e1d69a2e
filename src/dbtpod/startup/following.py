"""A process that is started anew when a Secret in its environment has changed.

The environment of a process never changes, and Kubernetes restarts nothing for a Secret. Beside the variable the same
key is mounted as a file, which Kubernetes keeps up to date, within two minutes. When it changes, the process is asked
to end, and Kubernetes starts the container again with the new value.
"""

import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

LOOK_SECONDS = 5.0
# What Kubernetes gives a container by default, too.
END_SECONDS = 30.0

Say = Callable[[str], None]


class Secrets:
    """The files of some variables, and what was in them at first."""

    def __init__(self, files: Mapping[str, Path], environment: Mapping[str, str]) -> None:
        self._files, self._environment = files, environment
        self._before = {name: _content(path) for name, path in files.items()}

    def changed(self) -> str:
        """Return the name of a variable whose Secret has another value now; empty where none has.

        A container that is started again right after the change has the new variable and, for a while, the old file:
        what is in its environment already is no change. A Secret that is gone is none either.
        """
        for name, path in self._files.items():
            now = _content(path)
            if now not in (None, self._before[name]) and now != self._environment.get(name):
                return name
        return ""


def follow(command: Sequence[str], watched: Secrets, say: Say, look_seconds: float = LOOK_SECONDS) -> int:
    """Run a command until it ends, and return its exit code; 0 where a changed Secret ended it."""
    # Held back until there is a process that they can be sent on to.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    process = subprocess.Popen(command, preexec_fn=_unblock)

    def send_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, send_on) for number in signals}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    try:
        return _until_changed(process, watched, say, look_seconds)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _until_changed(process: subprocess.Popen[bytes], watched: Secrets, say: Say, look_seconds: float) -> int:
    while True:
        try:
            code = process.wait(look_seconds)
        except subprocess.TimeoutExpired:
            if not (name := watched.changed()):
                continue
            say(f"The Secret that {name} comes from has changed: ending, to be started again with its new value.")
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            return 0
        return code if code >= 0 else 128 - code


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})


def _content(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
