"""Which failed node skipped which others, as a mapping and as a mermaid graph; pure."""

from collections.abc import Iterable

from dbtpod.dbt.node import TESTS, NodeResult, NodeStatus, kind_of
from dbtpod.dbt.results import RunReport
from dbtpod.ui.lineage import Parents, nearest

_MOST_NODES = 60
_CLASSES = (
    "classDef failed fill:#fde2e1,stroke:#b42318,color:#5c1410",
    "classDef skipped fill:#f2f4f7,stroke:#98a2b3,color:#475467,stroke-dasharray:4 3",
    "classDef ok fill:#dcfae6,stroke:#079455,color:#074d31",
)


def causes(report: RunReport, parents: Parents) -> dict[str, list[NodeResult]]:
    """Find the failed nodes above each skipped one: its ancestors and, in `dbt build`, the tests of an ancestor.

    A unit test of the node itself, which `dbt build` runs before it, counts too.
    """
    found = {node.node_id: node for node in report.nodes}
    tests = _failed_tests(report, parents)
    result: dict[str, list[NodeResult]] = {}
    for node in report.nodes:
        if node.status is NodeStatus.SKIPPED:
            steps = _unit(tests.get(node.node_id, ()))
            for ancestor in _ancestors(node.node_id, parents):
                steps += [ancestor, *tests.get(ancestor, ())]
            result[node.node_id] = [found[step] for step in steps if step in found and found[step].failed]
    return result


def mermaid(report: RunReport, parents: Parents) -> str:
    """Draw what failed, what it skipped, and the parents of what failed; empty if nothing failed.

    Of more than 60 nodes the first are drawn, what failed before what was skipped, and a last node counts the rest.
    """
    edges = _edges(report, parents)
    failed = [node for node in report.nodes if node.failed]
    if not failed:
        return ""
    skipped = [node for node in report.nodes if node.status is NodeStatus.SKIPPED]
    around = {above for node in failed for above, below in edges if below == node.node_id}
    parents_of_failed = [n for n in report.nodes if n.node_id in around and n not in failed and n not in skipped]
    nodes = [*failed, *skipped, *parents_of_failed]
    drawn = {node.node_id: f"n{number}" for number, node in enumerate(nodes[:_MOST_NODES])}
    lines = [f'  {drawn[node.node_id]}["{_label(node)}"]:::{_class(node)}' for node in nodes[:_MOST_NODES]]
    lines += [f"  {drawn[a]} --> {drawn[b]}" for a, b in edges if a in drawn and b in drawn]
    if len(nodes) > _MOST_NODES:
        lines.append(f'  more["and {len(nodes) - _MOST_NODES} more"]:::skipped')
    return "\n".join(["graph LR", *lines, *(f"  {line}" for line in _CLASSES)])


def _edges(report: RunReport, parents: Parents) -> list[tuple[str, str]]:
    """Return the arrows between the nodes of the report: from each to what was skipped for it or is built on it."""
    known = {node.node_id for node in report.nodes}
    tests = _failed_tests(report, parents)
    edges: dict[tuple[str, str], None] = {}
    for node in report.nodes:
        skipped = node.status is NodeStatus.SKIPPED and node.kind not in TESTS
        if skipped:
            edges.update(dict.fromkeys((test, node.node_id) for test in _unit(tests.get(node.node_id, ()))))
        for parent in nearest(node.node_id, parents, known):
            # A test that failed stands between the tested node and what is built on it.
            between = tests.get(parent, []) if skipped else []
            edges.update(dict.fromkeys((above, node.node_id) for above in between or [parent]))
    # A unit test that failed comes before the model that it tests, not after it.
    return [edge for edge in edges if edge[::-1] not in edges or kind_of(edge[0]) == "unit_test"]


def _unit(tests: Iterable[str]) -> list[str]:
    return [test for test in tests if kind_of(test) == "unit_test"]


def _failed_tests(report: RunReport, parents: Parents) -> dict[str, list[str]]:
    tests: dict[str, list[str]] = {}
    for node in report.nodes:
        if node.failed and node.kind in TESTS:
            for tested in parents.get(node.node_id, ()):
                tests.setdefault(tested, []).append(node.node_id)
    return tests


def _ancestors(node_id: str, parents: Parents) -> Iterable[str]:
    found: dict[str, None] = {}
    waiting = list(parents.get(node_id, ()))
    while waiting:
        ancestor = waiting.pop(0)
        if ancestor not in found:
            found[ancestor] = None
            waiting += parents.get(ancestor, ())
    return found


def _class(node: NodeResult) -> str:
    if node.failed:
        return "failed"
    return "skipped" if node.status is NodeStatus.SKIPPED else "ok"


# In mermaid only #...; escapes what a quoted label gives a meaning.
def _label(node: NodeResult) -> str:
    text = f"{node.kind} {node.name}"
    return "".join(c if c.isalnum() or c in " _-.:" else f"#{ord(c)};" for c in text)
