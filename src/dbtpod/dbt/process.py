"""Running dbt: argv in, lines of its JSON log out, artifacts in its target folder; dbt is never imported here.

    with process.start(["build"], project, target_dir) as dbt:
        for line in dbt.lines():
            ...
        code = dbt.wait()

dbt runs in a process group of its own, so that a signal to the flow reaches it once, from here, and in order: SIGINT,
which lets dbt end its queries and write its results, a bounded wait, then SIGKILL. It is the `dbt` executable, unless
`launch_by` gave another way to start it.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which
from typing import IO, Protocol

from dbtpod.dbt import arguments, parent_death
from dbtpod.dbt.project import Project, facts
from dbtpod.environment import environment as read_environment
from dbtpod.errors import SettingsError
from dbtpod.timeout import Timeout

STOP_SECONDS = 10.0


class Running(Protocol):
    """A running dbt."""

    # What it prints, standard error included; closed at its end.
    stdout: IO[str]

    def wait(self, seconds: float | None = None) -> int | None:
        """Return the exit code, negative for a signal's number, or None if it still runs after that time."""

    def interrupt(self) -> None:
        """Ask dbt to stop as Ctrl-C does."""

    def kill(self) -> None:
        """End dbt and what it started."""

    def close(self) -> None:
        """Release what belongs to it, once it has ended."""


# Arguments, environment, working folder; None where it cannot start this one, and the executable is used.
Launch = Callable[[Sequence[str], Mapping[str, str], Path], Running | None]


class Program:
    """A dbt in a process of its own: the executable, or another program that takes the same arguments."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self._popen = subprocess.Popen(
            parent_death.tied(*command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
        assert self._popen.stdout is not None  # noqa: S101
        self.stdout: IO[str] = self._popen.stdout

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


class DbtProcess:
    """A running dbt."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def lines(self) -> Iterator[str]:
        """Yield what dbt prints, standard error included, line by line until it ends."""
        for line in self._running.stdout:
            yield line.rstrip("\n")

    def wait(self) -> int:
        """Wait for dbt's end and return its exit code, negative for a signal's number."""
        code = self._running.wait()
        assert code is not None  # noqa: S101
        return code

    def stop(self) -> None:
        """End dbt if it still runs: SIGINT, `STOP_SECONDS` for it to write its results, then SIGKILL."""
        if self._running.wait(0) is None:
            self._running.interrupt()
            if self._running.wait(_read_away(self._running.stdout, STOP_SECONDS)) is None:
                self._running.kill()
                self._running.wait()
        self._running.close()


@contextmanager
def start(args: Sequence[str], project: Project, target_dir: Path) -> Iterator[DbtProcess]:
    """Start `dbt *args` with its artifacts in `target_dir`; leaving the block ends it, whatever the reason."""
    what = (environment(project, target_dir), project.folder)
    dbt = DbtProcess((_launch and _launch(args, *what)) or Program([executable(), *args], *what))
    try:
        yield dbt
    finally:
        dbt.stop()


_launch: Launch | None = None


def launch_by(launch: Launch | None) -> None:
    """Have the commands of this process started by `launch`, where it can; None: by the executable, as at first.

    Not by an environment variable: another thread of Prefect's may be reading the environment when it is taken out.
    """
    global _launch
    _launch = launch


def _read_away(output: IO[str], seconds: float) -> float:
    """Read what dbt still prints, or it would wait for room in the pipe; the time that is left when it closes it."""
    timeout = Timeout(seconds)
    while select.select([output], [], [], timeout.left)[0] and os.read(output.fileno(), 65536):
        pass
    return timeout.left


def executable() -> str:
    """Return the path of the `dbt` installed beside this Python, or else the first one on PATH."""
    beside = Path(sys.executable).with_name("dbt")
    found = str(beside) if beside.is_file() else which("dbt")
    if not found:
        raise SettingsError(f"There is no dbt beside {sys.executable} nor on PATH: install dbt-core and its adapter.")
    return found


def environment(project: Project, target_dir: Path, inherited: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return dbt's environment: ours, without Prefect's secrets and PYTHONPATH, and with dbt's own options.

    With a PYTHONPATH, dbt would take every module there whose name begins with `dbt_` for a plugin and run it. By what
    dbt prints and writes we know what it does, so how it does that is not a user's choice.
    """
    inherited = read_environment() if inherited is None else inherited
    own = {
        "DBT_PROJECT_DIR": str(project.folder),
        "DBT_PROFILES_DIR": str(project.profiles_dir),
        "DBT_TARGET_PATH": str(target_dir),
        "DBT_LOG_PATH": str(target_dir),
        "DBT_LOG_FORMAT": "json",
        "DBT_LOG_LEVEL": "debug",  # the level of the events about nodes
        "DBT_LOG_LEVEL_FILE": "none",
        "DBT_QUIET": "false",
        "DBT_WRITE_JSON": "true",
        "DBT_USE_COLORS": "false",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DUCKDB_PATH": str(project.writes),
        "DBTPOD_READABLE_PATH": str(project.reads),
        **({"DBTPOD_MEMORY_LIMIT": project.memory_limit} if project.memory_limit else {}),
        **_profile_name(project, inherited),
    }
    # dbt looks for the newer name of a variable first.
    hidden = {"PYTHONPATH", *(name.replace("DBT_", "DBT_ENGINE_", 1) for name in own)}
    return {k: v for k, v in inherited.items() if k not in hidden and not k.startswith("PREFECT_")} | own


def _profile_name(project: Project, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the profile's name, where dbt_project.yml has none and dbt would refuse it."""
    known = facts(project.folder)
    if known is None or known.is_named or arguments.variable(inherited, "PROFILE"):
        return {}
    return {"DBT_PROFILE": known.profile}
