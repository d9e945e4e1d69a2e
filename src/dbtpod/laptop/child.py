"""A process that ends with the one that started it, however that ends (on Linux: `parent_death`)."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress

from dbtpod.dbt import parent_death


class Child:
    """A running child of this process, in a process group of its own: a Ctrl-C in the terminal is ours alone."""

    def __init__(self, name: str, program: Sequence[str], environment: Mapping[str, str], silent: bool = False) -> None:
        self.name = name
        output = subprocess.DEVNULL if silent else None
        self._popen = subprocess.Popen(
            parent_death.tied(*program), env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, process_group=0
        )

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal's number; None while it runs."""
        return self._popen.poll()

    @property
    def end(self) -> str:
        """Say how it ended."""
        code = self.code or 0
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def stop(self, seconds: float) -> None:
        """Ask it to end, and after that time end it."""
        if self.code is None:
            self._popen.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End it now."""
        if self.code is None:
            self._popen.kill()
            self._popen.wait()
