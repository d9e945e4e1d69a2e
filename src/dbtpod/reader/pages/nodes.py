"""The nodes of the generation that readers see, and those that the history knows, searchable."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from dbtpod.dbt.node import TESTS
from dbtpod.reader.pages import paging, questions
from dbtpod.reader.pages.manifest import Manifest
from dbtpod.reader.pages.recorded import Row
from dbtpod.reader.pages.site import Site

_SIZE = 100
_LONGEST = 200
_KINDS = ("", "model", "seed", "snapshot", "source", "test")
_ORDERS = {"": "name", "slow": "slowest first", "failing": "failing first"}


@dataclass(frozen=True)
class Listed:
    """A line of the list."""

    id: str
    kind: str
    name: str
    description: str
    place: str
    said: Row | None
    failing: Row | None
    flaky: Row | None


def page(site: Site, request: Request) -> Response:
    """List the nodes that the search finds."""
    searched = request.query_params.get("q", "").strip()[:_LONGEST]
    kind, order = request.query_params.get("kind", ""), request.query_params.get("order", "")
    kind, order = kind if kind in _KINDS else "", order if order in _ORDERS else ""
    current = site.current()
    manifest = site.manifests.of(current) if current else Manifest()
    with site.history() as history:
        said = _by_id(history.rows(questions.NODES))
        failing, flaky = _by_id(history.rows(questions.FAILING)), _by_id(history.rows(questions.FLAKY))
    everything = _all(manifest, said, failing, flaky)
    found = [one for one in everything if _is_meant(one, searched.lower(), kind)]
    found.sort(key=lambda one: _rank(one, order))
    part = paging.of(request, len(found), _SIZE)
    values = {
        "nodes": found[part.offset : part.end],
        "paging": part,
        "searched": searched,
        "kind": kind,
        "kinds": _KINDS,
        "order": order,
        "orders": _ORDERS,
        "current": current,
        "manifest": manifest,
        "history": history,
    }
    return site.page(request, "nodes.html", values)


def _by_id(rows: list[Row]) -> dict[str, Row]:
    return {row["node_id"]: row for row in rows}


def _all(
    manifest: Manifest, said: Mapping[str, Row], failing: Mapping[str, Row], flaky: Mapping[str, Row]
) -> list[Listed]:
    listed = []
    # What the manifest has, or, where there is none, what was executed.
    for node_id in manifest.nodes or said:
        node, row = manifest.nodes.get(node_id), said.get(node_id)
        kind = node.kind if node else node_id.split(".", 1)[0]
        name = node.name if node else str(row["name"]) if row else node_id
        place = ".".join(node.place) if node and node.place[1] else ""
        description = node.description if node else ""
        listed.append(Listed(node_id, kind, name, description, place, row, failing.get(node_id), flaky.get(node_id)))
    return listed


def _is_meant(one: Listed, searched: str, kind: str) -> bool:
    is_kind = not kind or one.kind == kind or (kind == "test" and one.kind in TESTS)
    # Tests are many: they come when they are asked for.
    shown = is_kind and (bool(kind) or bool(searched) or one.kind not in TESTS)
    return shown and all(word in f"{one.id} {one.place} {one.description}".lower() for word in searched.split())


def _rank(one: Listed, order: str) -> tuple[bool, float, int, str, str]:
    """Return what the list is sorted by."""
    slow = -(one.said["median_seconds"] or 0.0) if one.said and order == "slow" else 0.0
    kind = _KINDS.index(one.kind) if one.kind in _KINDS else len(_KINDS)
    return order == "failing" and not one.failing, slow, kind, one.name, one.id
