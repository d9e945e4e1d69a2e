"""One node of one generation: how it developed, its tests, columns, lineage and SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dbtpod.dbt.node import TESTS
from dbtpod.reader.pages import questions
from dbtpod.reader.pages.manifest import Manifest, Node
from dbtpod.reader.pages.parents import Lineage, Place
from dbtpod.reader.pages.recorded import Row
from dbtpod.reader.pages.site import Site

_SHOWN = 12


@dataclass(frozen=True)
class ShownColumn:
    """A column as the database has it, and as the project describes it."""

    name: str
    kind: str
    description: str
    parents: Sequence[Place]
    children: Sequence[Place]


def page(site: Site, request: Request) -> Response:
    """Show one node."""
    number, node_id = request.path_params["number"], request.path_params["node_id"]
    if found := site.redirect(request, number):
        return found
    generation = site.generation(number)
    manifest = site.manifests.of(generation)
    node = manifest.nodes.get(node_id)
    tests = manifest.tests(node_id)
    with site.history() as history:
        executions = history.rows(questions.EXECUTIONS, node_id)
        if node is None and not executions and not history.problem:
            raise HTTPException(404, f"Generation {number} has no node {node_id[:120]}, nor was it ever executed.")
        sizes = history.rows(questions.SIZES, *node.place) if node and node.place[1] else []
        said = {row["node_id"]: row for row in history.rows(questions.LAST_OF, [each.id for each in tests])}
        failing = [row for row in history.rows(questions.FAILING) if row["node_id"] == node_id]
    with site.opened(generation) as opened:
        typed = opened.rows(questions.COLUMNS, *node.place) if node and node.place[1] else []
    lineage = site.lineages.of(generation) if node and node.kind not in TESTS else Lineage()
    columns = _columns(node, typed, lineage) if node else []
    values = {
        "generation": generation,
        "is_current": site.reader.kept.generations.is_current(generation.number),
        "node": node,
        "node_id": node_id,
        "name": node.name if node else node_id,
        "manifest": manifest,
        "tests": [(each, said.get(each.id)) for each in tests],
        "parents": _related(manifest, node.parents if node else ()),
        "children": [one for one in _related(manifest, manifest.children.get(node_id, ())) if one.kind not in TESTS],
        "columns": columns,
        "has_column_lineage": any(each.parents or each.children for each in columns),
        "lineage": lineage,
        "lineage_problem": lineage.problem or lineage.problems.get(node_id, ""),
        "executions": executions[:_SHOWN],
        "executed": len(executions),
        "seconds_chart": _seconds(executions[::-1]),
        "rows_chart": _rows(sizes[::-1]),
        "sizes": sizes,
        "failing": failing[0] if failing else None,
        "is_in_file": bool(typed),
        "history": history,
    }
    return site.page(request, "node.html", values)


def _related(manifest: Manifest, node_ids: Sequence[str]) -> list[Node]:
    return [manifest.nodes[each] for each in node_ids if each in manifest.nodes]


def _columns(node: Node, typed: Sequence[Row], lineage: Lineage) -> list[ShownColumn]:
    """Return the columns that the database has; those of the project where it has no such table."""
    described = {column.name.lower(): column for column in node.columns}
    found = typed or [{"name": column.name, "kind": column.kind} for column in node.columns]
    shown = []
    for each in found:
        known = described.get(each["name"].lower())
        parents, children = lineage.of(node.id, each["name"])
        shown.append(ShownColumn(each["name"], each["kind"], known.description if known else "", parents, children))
    return shown


def _seconds(executions: Sequence[Row]) -> dict[str, Any]:
    """Return what charts.js draws: the seconds of each execution, and which failed."""
    found = [one for one in executions if one["began"] is not None]
    good = [None if one["failed"] else one["seconds"] for one in found]
    bad = [one["seconds"] if one["failed"] else None for one in found]
    lines = [{"label": "Good", "tone": "accent", "values": good}, {"label": "Failed", "tone": "bad", "values": bad}]
    times, links = [one["began"].timestamp() for one in found], [one["run_id"] for one in found]
    return {"times": times, "unit": "seconds", "lines": lines, "links": links}


def _rows(sizes: Sequence[Row]) -> dict[str, Any]:
    """Return what charts.js draws: the rows in each generation."""
    found = [one for one in sizes if one["rows"] is not None]
    lines = [{"label": "Rows", "tone": "good", "values": [one["rows"] for one in found], "steps": True}]
    return {"times": [one["at"].timestamp() for one in found], "unit": "count", "lines": lines, "links": []}
