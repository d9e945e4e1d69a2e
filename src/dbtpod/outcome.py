"""How an attempt of a dbt command ended: the error that says what failed and why, and whether to try again."""

import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from dbtpod.dbt import arguments, failures
from dbtpod.dbt.events import LogLine
from dbtpod.dbt.results import RunReport
from dbtpod.errors import BuildIncomplete, ConnectionLost, DbtFailed, DbtKilled, DbtUnusable, VolumeFull
from dbtpod.ui import report
from dbtpod.ui.text import truncate
from dbtpod.warehouse import durable

# How DuckDB and Python report a volume that became full in the middle.
_FULL = os.strerror(errno.ENOSPC)
_LAST_LINES, _LONGEST_LINE = 5, 300


def raise_for(args: Sequence[str], code: int, errors: Sequence[LogLine], found: RunReport, target_dir: Path) -> None:
    """Raise the error of an attempt that did not end well; `found` has the reasons."""
    text = truncate(arguments.text(args), _LONGEST_LINE)
    failed = [node for node in found.nodes if node.failed]
    if code == 0:
        if failed:
            names = ", ".join(node.node_id for node in failed)
            raise BuildIncomplete(f"{text} ended with exit code 0, but failed: {names}. dbt's artifacts: {target_dir}")
        return
    if code < 0:
        by = signal.Signals(-code).name
        hint = ": the kernel does that when memory runs out, see jobs.resources" if by == "SIGKILL" else ""
        raise DbtKilled(f"{text} was ended by {by}{hint}. dbt's artifacts: {target_dir}")
    said = [line.text for line in errors]
    where = f"dbt's artifacts: {target_dir}; its whole text is in the log of this task run."
    shown = [] if failed else [truncate(line, _LONGEST_LINE) for line in said[-_LAST_LINES:]]
    limits = sorted({failures.advice(line) for line in [*(node.message for node in failed), *said]} - {""})
    message = report.failure_text(found, args, code, "\n".join([*shown, *limits, where]))
    if failures.was_connection_lost([node.message for node in failed], said):
        raise ConnectionLost(message)
    if any(_FULL in line for line in [node.message for node in failed] or said):
        raise VolumeFull(f"{durable.volume_full(target_dir, 0, text)}\n{message}")
    raise DbtFailed(message) if failed else DbtUnusable(message)
