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
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from dbtpod.dbt import arguments, kept
from dbtpod.dbt.program import Output, Program, Running
from dbtpod.dbt.project import Project, facts
from dbtpod.environment import environment as read_environment
from dbtpod.errors import SettingsError
from dbtpod.timeout import Timeout

STOP_SECONDS = 10.0
# For a bug report about dbt: each command is then the plain executable.
_PLAIN_DBT = "DBTPOD_PLAIN_DBT"


# Arguments, environment, working folder; None where it cannot start this one, and the executable is used.
Launch = Callable[[Sequence[str], Mapping[str, str], Path], Running | None]


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
def start(args: Sequence[str], project: Project, target_dir: Path, *, is_first: bool = False) -> Iterator[DbtProcess]:
    """Start `dbt *args` with its artifacts in `target_dir`; leaving the block ends it, whatever the reason.

    `is_first` says that another command is to follow soon, which then need not import dbt again.
    """
    what = (environment(project, target_dir), project.folder)
    dbt = DbtProcess((_launch and _launch(args, *what)) or _program(args, *what, is_first=is_first))
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


def _program(args: Sequence[str], environment: Mapping[str, str], folder: Path, *, is_first: bool) -> Running:
    file = executable()
    if environment.get(_PLAIN_DBT) == "1":
        return Program([file, *args], environment, folder)
    # Only that one is of this Python.
    if is_first and Path(file) == _beside():
        return kept.first(file, args, environment, folder)
    return kept.following(args, environment, folder) or Program([file, *args], environment, folder)


def _read_away(output: Output, seconds: float) -> float:
    """Read what dbt still prints, or it would wait for room in the pipe; the time that is left when it closes it."""
    timeout = Timeout(seconds)
    while select.select([output], [], [], timeout.left)[0] and os.read(output.fileno(), 65536):
        pass
    return timeout.left


def executable() -> str:
    """Return the path of the `dbt` installed beside this Python, or else the first one on PATH."""
    beside = _beside()
    found = str(beside) if beside.is_file() else which("dbt")
    if not found:
        raise SettingsError(f"There is no dbt beside {sys.executable} nor on PATH: install dbt-core and its adapter.")
    return found


def _beside() -> Path:
    return Path(sys.executable).with_name("dbt")


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
