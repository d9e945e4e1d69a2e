"""Ends scheduled runs that are too late: after hours without a worker one build does what ten would.

Prefect starts every run that was missed, the oldest first, and the run that is due waits behind all of them.
"""

import logging
from collections.abc import Iterable

from dbtpod.watchdog.server import Run, Server
from dbtpod.watchdog.sight import since

# A run that waits for less is only late because the pod before it takes its time to end.
LATE_SECONDS = 60

logger = logging.getLogger("dbtpod.watchdog")


def too_late(runs: Iterable[Run], kept: int) -> list[Run]:
    """Return the runs to be skipped: of each deployment's due runs all but the newest `kept`, once they are late.

    A run that was started by hand, began once, or waits for its retry is no missed run. One that is about to start
    can no longer be skipped, so it is one of those that are kept.
    """
    due: dict[str, list[Run]] = {}
    for run in runs:
        waits = run.type == "PENDING" or run.state in ("Scheduled", "Late")
        if waits and run.scheduled and not run.started and since(run.expected) > 0:
            due.setdefault(run.deployment, []).append(run)
    skipped: list[Run] = []
    for missed in due.values():
        missed.sort(key=lambda run: (run.type == "PENDING", run.expected), reverse=True)
        skipped += [run for run in missed[kept:] if run.type == "SCHEDULED" and since(run.expected) > LATE_SECONDS]
    return skipped


def skip(runs: Iterable[Run], kept: int, server: Server, setting: str = " (worker.lateRuns)") -> None:
    """End what is too late as Skipped, with the reason, and where that is set."""
    for run in too_late(runs, kept):
        message = (
            f"Skipped: it was due at {run.expected:%Y-%m-%d %H:%M:%S} UTC and could not start, and a newer run of "
            f"this deployment is due as well. Of late runs the newest {kept} still run{setting}."
        )
        if server.set_state(run, "CANCELLED", "Skipped", message):
            logger.warning("Flow run %s was skipped: it was due at %s.", run.name, run.expected)
