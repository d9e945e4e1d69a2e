"""Ends the flow runs whose process on this machine died: nothing else does, and they would stay Running.

What shows it is the lock that each such process held on the volume (`run_lock`); the kernel gave it back.
"""

import os
import time
from pathlib import Path

from dbtpod.warehouse import run_lock
from dbtpod.watchdog.server import Run, Server

DIED = "Its process on this machine ended without a word: it was killed, or the machine stopped."
NOT_STARTED = "The process that was to start it ended before that."
CANCELLED = "Cancelled. Its process was gone before it could stop dbt."
# A process that has made the file of its lock, and is just taking it. The next `dbtpod run` is no faster than this.
_YOUNG_SECONDS = 1.0


def end(server: Server, runs: Path) -> list[str]:
    """End the runs whose lock was left behind; return a line for each, to be printed."""
    lines = []
    left = run_lock.left_behind(runs, time.time() - _YOUNG_SECONDS)
    try:
        while left:
            run_id, file, descriptor = left[-1]
            lines += [line for run in server.runs([run_id]) if (line := _end(server, run))]
            run_lock.drop(file, descriptor)
            left.pop()
    finally:  # those that the server did not take are left for the next time
        for _, _, descriptor in left:
            os.close(descriptor)
    return lines


def end_claimed(server: Server, live: list[Run], runs: Path, since: float) -> list[str]:
    """End what a worker took before this one started, at `since`, and of which there is no process.

    A run that was about to start goes back to its queue.
    """
    lines = []
    for run in live:
        is_lost = run.since.timestamp() < since and not run_lock.path(runs, run.id).exists()
        if not is_lost:
            continue
        if run.type == "PENDING":
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            if server.set_state(run, "SCHEDULED", "AwaitingRetry", NOT_STARTED, scheduled_time=now):
                lines.append(f"The flow run {run.name} is put back into its queue: {NOT_STARTED}")
        elif line := _end(server, run):
            lines.append(line)
    return lines


def _end(server: Server, run: Run) -> str:
    if run.type in ("RUNNING", "PENDING"):
        if server.set_state(run, "CRASHED", "Crashed", DIED):
            return f"The flow run {run.name} is Crashed: {DIED}"
    elif run.type == "CANCELLING" and server.set_state(run, "CANCELLED", "Cancelled", CANCELLED):
        return f"The flow run {run.name} is Cancelled: {CANCELLED}"
    return ""
