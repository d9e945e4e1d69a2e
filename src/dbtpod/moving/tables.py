"""Which table of the DuckDB file is which relation of the server, by dbt's ids of nodes in two manifests."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from dbtpod.moving.columns import quoted

# Schema and name.
Place = tuple[str, str]
# What dbt keeps rows of.
KINDS = ("model", "seed", "snapshot")


@dataclass(frozen=True)
class Table:
    """One node's table, here and there."""

    node_id: str
    source: Place
    target: Place


def of_nodes(before: Mapping[str, Any], after: Mapping[str, Any], there: Set[Place]) -> list[Table]:
    """Return the tables that can be moved: of nodes of the build that the project still has, as they are now.

    `before` is the manifest of the build, `after` that of the new target; `there` has the tables of the DuckDB file, in
    lower case.
    """
    nodes = {node_id: node for node_id, node in before["nodes"].items() if node["resource_type"] in KINDS}
    found = []
    for node_id, node in nodes.items():
        source = (node["schema"], node["alias"])
        now = after["nodes"].get(node_id)
        if now and (source[0].lower(), source[1].lower()) in there:
            found.append(Table(node_id, source, (now["schema"], now["alias"])))
    return sorted(found, key=lambda one: one.target)


def left_out(tables: list[Table], there: Set[Place]) -> list[str]:
    """Return the tables of the file that belong to none of these, in lower case."""
    taken = {(one.source[0].lower(), one.source[1].lower()) for one in tables}
    return sorted(".".join(place) for place in there - taken)


def named(place: Place) -> str:
    """Write a place in SQL."""
    return ".".join(map(quoted, place))
