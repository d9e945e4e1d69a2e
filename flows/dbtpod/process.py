"""The one seam to dbt: argv in, lines of its JSON log out, artifacts in its target folder; dbt is never imported.

dbt runs in a process group of its own, so that a signal to the flow reaches it once, from here, and in order: SIGINT,
which lets dbt end its queries and write its results, a bounded wait, then SIGKILL.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from dbtpod import leash
from dbtpod.errors import SettingsError
from dbtpod.settings import Settings

STOP_SECONDS = 10.0


class DbtProcess:
    """A running dbt."""

    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self._popen = popen

    def lines(self) -> Iterator[str]:
        """Yield what dbt prints, standard error included, line by line until it ends."""
        assert self._popen.stdout is not None  # noqa: S101
        for line in self._popen.stdout:
            yield line.rstrip("\n")

    def wait(self) -> int:
        """Wait for dbt's end; its exit code, negative for a signal's number."""
        return self._popen.wait()

    def stop(self) -> None:
        """End dbt if it still runs: SIGINT, `STOP_SECONDS` for it to write its results, then SIGKILL."""
        if self._popen.poll() is not None:
            return
        self._popen.send_signal(signal.SIGINT)
        try:
            # Its output goes on being read: dbt would otherwise wait for room in the pipe.
            self._popen.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()


@contextmanager
def start(args: Sequence[str], settings: Settings, target_dir: Path) -> Iterator[DbtProcess]:
    """Start `dbt *args` with its artifacts in `target_dir`; leaving the block ends it, whatever the reason."""
    command = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), executable(), *args]
    popen = subprocess.Popen(
        command,
        cwd=settings.project_dir,
        env=environment(settings, target_dir),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        process_group=0,
    )
    dbt = DbtProcess(popen)
    try:
        yield dbt
    finally:
        dbt.stop()
        if popen.stdout:
            popen.stdout.close()


def executable() -> str:
    """Return the path of the `dbt` installed beside this Python, or else the first one on PATH."""
    beside = Path(sys.executable).with_name("dbt")
    found = str(beside) if beside.is_file() else which("dbt")
    if not found:
        raise SettingsError(f"There is no dbt beside {sys.executable} nor on PATH: install dbt-core and its adapter.")
    return found


def environment(settings: Settings, target_dir: Path, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return dbt's environment: ours, without Prefect's secrets and PYTHONPATH, and with dbt's own options.

    With a PYTHONPATH, dbt would take every module there whose name begins with `dbt_` for a plugin and run it.
    """
    kept = {k: v for k, v in inherited.items() if k != "PYTHONPATH" and not k.startswith("PREFECT_")}
    return kept | {
        "DBT_PROJECT_DIR": str(settings.project_dir),
        "DBT_PROFILES_DIR": inherited.get("DBT_PROFILES_DIR", str(settings.project_dir)),
        "DBT_TARGET_PATH": str(target_dir),
        "DBT_LOG_PATH": str(target_dir),
        "DBT_LOG_FORMAT": "json",
        "DBT_LOG_LEVEL": "debug",  # the level of the events that tell of nodes
        "DBT_LOG_LEVEL_FILE": "none",
        "DBT_USE_COLORS": "false",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "DUCKDB_PATH": str(settings.duckdb_path),
        "DBTPOD_READABLE_PATH": str(settings.readable_path),
        **({"DBTPOD_MEMORY_LIMIT": settings.memory_limit} if settings.memory_limit else {}),
    }
