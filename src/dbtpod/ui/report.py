"""A RunReport as text: state messages, the rows of a table, and a report in markdown; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from dbtpod.dbt.node import NodeResult, NodeStatus, names
from dbtpod.dbt.results import RunReport
from dbtpod.ui import failure_graph
from dbtpod.ui.lineage import Parents
from dbtpod.ui.reader_links import NO_READER, ReaderLinks
from dbtpod.ui.text import (
    code_block,
    count_text,
    duration,
    escape_markdown,
    first_of,
    markdown_table,
    one_line,
    section,
    truncate,
    truncate_middle,
)

_MOST_NAMED = 10
_MOST_ROWS = 2000
# With the words that Prefect puts before an exception's, a state message is no longer than 2,000 characters.
_LONGEST_STATE = 1900
_LONGEST_SQL = 4000
# The kinds of nodes that have a page of their own in the reader.
_WITH_HISTORY = ("model", "seed", "snapshot")


def table(report: RunReport, parents: Parents = MappingProxyType({})) -> list[dict[str, str | int | float | None]]:
    """Make a row for each node, in dbt's order; of more than 2,000 nodes those that failed or warn come first."""
    nodes = _named(report, parents).nodes
    if len(nodes) > _MOST_ROWS:
        nodes = tuple(sorted(nodes, key=lambda node: (not node.failed, node.status is not NodeStatus.WARN)))
    cells: list[dict[str, str | int | float | None]] = [
        {
            "node": f"{node.kind} {node.name}",
            "status": node.status.value,
            "seconds": round(node.seconds, 2),
            "rows": node.rows,
            "message": one_line(node),
        }
        for node in nodes[:_MOST_ROWS]
    ]
    if len(nodes) > _MOST_ROWS:
        cells.append({"node": f"and {len(nodes) - _MOST_ROWS} more"})
    return cells


def summary(report: RunReport) -> str:
    """Say in one line how many nodes ended how: "21 done: 19 success, 1 warn, 1 error"."""
    return f"{len(report.nodes)} done: {count_text(report)}" if report.nodes else "0 done"


def completed_text(report: RunReport) -> str:
    """Write the state message of a run that succeeded, with what it warns of."""
    nodes = _named(report, {}).nodes
    warned = [f"{node.kind} {node.name} {one_line(node)}" for node in nodes if node.status is NodeStatus.WARN]
    number = len(report.nodes)
    text = f"{number} node{'s' if number != 1 else ''}: {count_text(report)}" if number else "no node was selected"
    return truncate(f"{text} ({first_of(warned, '; ', 3)})", _LONGEST_STATE) if warned else text


def failure_text(
    report: RunReport,
    args: Sequence[str],
    exit_code: int,
    advice: str = "",
    owners: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Write the state message of a run that failed: the command, the counts, what failed, whose it is and why.

    The last line of `advice`, which says what to do, is never cut: it says where the whole of what was cut is. Alerts
    read the nodes and their owners from the lines that begin with two spaces (registration/alert_messages.py).
    """
    command = truncate(" ".join(["dbt", *args]), 200)
    head = f"{command} failed with exit code {exit_code}: {count_text(report) or 'no node ran'}."
    failed = [f"  {node.node_id}{_owned(owners, node)}: {one_line(node)}" for node in failures(report)]
    said, newline, last = advice.rpartition("\n")
    advice = truncate_middle(said, _LONGEST_STATE - 400 - len(last), "this run's log") + newline + last
    room = _LONGEST_STATE - len(advice) - 30
    shown: list[str] = [head]
    for line in failed[:_MOST_NAMED]:
        if sum(map(len, shown)) + len(shown) + len(line) <= room:
            shown.append(line)
    rest = len(failed) - len(shown) + 1
    return "\n".join([*shown, *([f"  and {rest} more"] if rest else []), *([advice] if advice else [])])


def markdown(
    report: RunReport, parents: Parents, reason: str = "", kept_aside: str = "", reader: ReaderLinks = NO_READER
) -> str:
    """Write the report: counts, a preview, freshness, failures with their SQL, what they skipped, warnings, slow nodes.

    `reason` says why there was something to run, where it was not a person or a schedule alone; `kept_aside` is the
    part of a build that became a preview; `reader` has links to what its pages show of the run.
    """
    report = _named(report, parents)
    sections = (
        escape_markdown(reason),
        f"**{summary(report)}** in {duration(report.elapsed)}.",
        reader.run,
        kept_aside,
        _freshness(report),
        _failures(report, reader),
        _skipped(report, parents),
        _warnings(report),
        _slowest(report),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _named(report: RunReport, parents: Parents) -> RunReport:
    """Name each node as its task run does: names are unique in the project, not in the run."""
    unique = names({*parents, *(node.node_id for node in report.nodes)})
    return replace(report, nodes=tuple(replace(node, name=unique[node.node_id]) for node in report.nodes))


# An ephemeral model that does not compile has no result of its own: dbt puts its error on what it skips.
def failures(report: RunReport) -> list[NodeResult]:
    """Return what a run failed for."""
    failed = [node for node in report.nodes if node.failed]
    return failed or [node for node in report.nodes if node.status is NodeStatus.SKIPPED and node.message]


def _owned(owners: Mapping[str, str], node: NodeResult) -> str:
    return f" (owner: {owners[node.node_id]})" if node.node_id in owners else ""


def _freshness(report: RunReport) -> str:
    sources = [node for node in report.nodes if node.kind == "source"]
    cells = [
        (node.name, node.status.value, *(_age(age) for age in (node.age, node.warn_after, node.error_after)))
        for node in sources
    ]
    return section("Freshness", _bounded(("source", "status", "age", "warn after", "error after"), cells))


def _failures(report: RunReport, reader: ReaderLinks) -> str:
    failed = failures(report)
    parts = [_failure(node, reader) for node in failed[:_MOST_NAMED]]
    if len(failed) > _MOST_NAMED:
        parts.append(f"And {first_of([f'`{node.node_id}`' for node in failed[_MOST_NAMED:]], ', ', 50)}.")
    return section("Failed", "\n\n".join(parts))


def _failure(node: NodeResult, reader: ReaderLinks) -> str:
    parts = [
        f"### {escape_markdown(f'{node.kind} {node.name}')}",
        code_block(truncate(node.message or one_line(node), _LONGEST_SQL, node.place), "text"),
    ]
    if node.failures_table:
        parts.append(f"Failing rows are in `{node.failures_table}` of the working copy, until the next run starts.")
    if node.kind in _WITH_HISTORY and (history := reader.node(node.node_id)):
        parts.append(history)
    if node.sql:
        where = f"`{node.compiled_path}`" if node.compiled_path else "Compiled SQL"
        parts += [f"{where}:", code_block(truncate(node.sql.strip(), _LONGEST_SQL, node.place), "sql")]
    return "\n\n".join(parts)


def _skipped(report: RunReport, parents: Parents) -> str:
    because: dict[str, list[str]] = {}
    names = {node.node_id: f"{node.kind} {node.name}" for node in report.nodes}
    for node_id, failed in failure_graph.causes(report, parents).items():
        cause = first_of([names[node.node_id] for node in failed], ", ", 3) or "unknown"
        because.setdefault(cause, []).append(names[node_id])
    cells = [(cause, str(len(skipped)), first_of(skipped, ", ", 20)) for cause, skipped in because.items()]
    graph = failure_graph.mermaid(report, parents)
    drawn = section("Lineage of what failed", code_block(graph, "mermaid")) if graph else ""
    return "\n\n".join(filter(None, (section("Skipped", _bounded(("because of", "nodes", "skipped"), cells)), drawn)))


def _warnings(report: RunReport) -> str:
    warned = [node for node in report.nodes if node.status is NodeStatus.WARN]
    return section("Warnings", _bounded(("node", "message"), [(f"{n.kind} {n.name}", one_line(n)) for n in warned]))


def _slowest(report: RunReport) -> str:
    slowest = sorted(report.nodes, key=lambda node: node.seconds, reverse=True)[:_MOST_NAMED]
    cells = [
        (f"{node.kind} {node.name}", duration(node.seconds), str(node.rows or "")) for node in slowest if node.seconds
    ]
    return section("Slowest", markdown_table(("node", "time", "rows"), cells))


def _bounded(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    more = f"\n\nAnd {len(cells) - 50} more." if len(cells) > 50 else ""
    return markdown_table(head, cells[:50]) + more


def _age(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)
