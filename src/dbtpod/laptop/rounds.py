"""What `dbtpod serve` does every few seconds with the runs of its pool; on a cluster the watchdog does as much."""

from collections.abc import Mapping
from pathlib import Path

import httpx

from dbtpod.laptop import dead
from dbtpod.watchdog import missed
from dbtpod.watchdog.server import Server, connected

# More than a server takes that is only slow.
REQUEST_SECONDS = 20.0
# After hours without a process here, one build does what ten would.
LATE_RUNS = 1


class Rounds:
    """One pool's runs on the server of this machine."""

    def __init__(self, environment: Mapping[str, str], pool: str, runs: Path) -> None:
        self._server = Server(connected(environment, REQUEST_SECONDS), pool)
        self._runs = runs
        self._trouble = ""

    def round(self, worker_since: float) -> list[str]:
        """End what died, skip what is too late, and return lines to print; `worker_since` is the worker's start."""
        try:
            lines = dead.end(self._server, self._runs)
            live = self._server.live_runs()
            lines += dead.end_claimed(self._server, live, self._runs, worker_since)
            missed.skip(live, LATE_RUNS, self._server, setting="")
        except (httpx.HTTPError, LookupError, TypeError, ValueError, OSError) as error:
            trouble = f"Prefect's server was asked for its runs: {type(error).__name__}: {error}"
            lines, self._trouble = [trouble] if trouble != self._trouble else [], trouble
            return lines
        self._trouble = ""
        return lines
