"""How an attempt of a dbt command ended: the error that says what failed and why."""

import signal
from collections.abc import Sequence
from pathlib import Path

from dbtpod.dbt import arguments, failures
from dbtpod.dbt.events import LogLine
from dbtpod.dbt.project import DUCKDB
from dbtpod.dbt.results import RunReport
from dbtpod.errors import BuildIncomplete, DbtKilled, VolumeFull
from dbtpod.ui import owners, report
from dbtpod.ui.text import truncate
from dbtpod.warehouse import durable

_LAST_LINES, _LONGEST_LINE = 5, 300


def raise_for(
    args: Sequence[str],
    code: int,
    errors: Sequence[LogLine],
    found: RunReport,
    target_dir: Path,
    adapter: str = DUCKDB,
) -> None:
    """Raise the error of an attempt that did not end well, and nothing for one that did.

    `errors` are dbt's own error lines, `found` is what became of its nodes, in `target_dir` are dbt's artifacts.
    """
    text = truncate(arguments.text(args), _LONGEST_LINE)
    failed = [node for node in found.nodes if node.failed]
    said = [line.text for line in errors]
    kind = failures.classify(code, [node.message for node in failed], said, adapter)
    if kind is None:
        return
    if kind is BuildIncomplete:
        names = ", ".join(node.node_id for node in failed)
        raise kind(f"{text} ended with exit code 0, but failed: {names}. dbt's artifacts: {target_dir}")
    if kind is DbtKilled:
        by = signal.Signals(-code).name
        hint = ": the kernel does that when memory runs out, see jobs.resources" if by == "SIGKILL" else ""
        raise kind(f"{text} was ended by {by}{hint}. dbt's artifacts: {target_dir}")
    where = f"dbt's artifacts: {target_dir}; its whole text is in the log of this task run."
    shown = [] if failed else [truncate(line, _LONGEST_LINE) for line in said[-_LAST_LINES:]]
    limits = sorted({failures.advice(line) for line in [*(node.message for node in failed), *said]} - {""})
    whose = owners.read(target_dir, [node.node_id for node in report.failures(found)])
    message = report.failure_text(found, args, code, "\n".join([*shown, *limits, where]), whose)
    if kind is VolumeFull:
        raise kind(f"{durable.volume_full(target_dir, 0, text)}\n{message}")
    raise kind(message)
