"""What dbt's manifest says of the nodes: that of a generation lies beside its DuckDB file."""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dbtpod.dbt.artifact import UNREADABLE
from dbtpod.dbt.node import TESTS
from dbtpod.warehouse.facts import Generation

MANIFEST, RUN_RESULTS = "manifest.json", "run_results.json"
# What a page of its own is made of.
_KINDS = ("model", "seed", "snapshot", "source", "exposure", *TESTS)
# A manifest of 1,000 models takes about 20 MB.
_KEPT = 3
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Column:
    """A column as the project describes it."""

    name: str
    kind: str
    description: str


@dataclass(frozen=True)
class Node:
    """A node as dbt parsed it."""

    id: str
    kind: str
    name: str
    place: tuple[str, str]  # schema and name in the database; empty where it is no relation
    description: str
    columns: tuple[Column, ...]
    raw: str
    compiled: str
    language: str
    file: str
    materialized: str
    tags: tuple[str, ...]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """The nodes of a generation; `problem` says why there are none."""

    nodes: Mapping[str, Node] = field(default_factory=dict)
    children: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str = ""

    def tests(self, node_id: str) -> list[Node]:
        """Return the tests that look at a node."""
        found = (self.nodes[each] for each in self.children.get(node_id, ()))
        return sorted((one for one in found if one.kind in TESTS), key=lambda one: one.name)


class Manifests:
    """The manifests of the last generations that were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: OrderedDict[Path, Manifest] = OrderedDict()

    def of(self, generation: Generation) -> Manifest:
        """Return what a generation's manifest says."""
        folder = generation.database.parent
        # One at a time: reading a large one takes some 100 MB for a moment.
        with self._lock:
            if folder not in self._read:
                self._read[folder] = read(folder)
            self._read.move_to_end(folder)
            if len(self._read) > _KEPT:
                self._read.popitem(last=False)
            return self._read[folder]


def read(folder: Path) -> Manifest:
    """Read the manifest in a folder, and from the run results what dbt compiled."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
        compiled = _compiled(folder / RUN_RESULTS)
        nodes = {one.id: one for one in _nodes(found, compiled)}
    except FileNotFoundError:
        return Manifest(problem=f"This generation has no {MANIFEST}: it was not built by dbt, or by an older dbtpod.")
    except UNREADABLE:
        return Manifest(problem=f"The {MANIFEST} of this generation cannot be read.")
    children: dict[str, list[str]] = {}
    for node in nodes.values():
        for parent in node.parents:
            children.setdefault(parent, []).append(node.id)
    return Manifest(nodes, {parent: tuple(sorted(each)) for parent, each in children.items()})


def _nodes(manifest: Mapping[str, Any], compiled: Mapping[str, str]) -> Iterator[Node]:
    for part in ("nodes", "sources", "exposures", "unit_tests"):
        for node_id, node in (manifest.get(part) or {}).items():
            if node["resource_type"] in _KINDS:
                yield _node(node_id, node, compiled.get(node_id, ""))


def _node(node_id: str, node: Mapping[str, Any], compiled: str) -> Node:
    kind = node["resource_type"]
    config = node.get("config") or {}
    name = f"{node['source_name']}.{node['name']}" if kind == "source" else node["name"]
    relation = node.get("identifier") or node.get("alias")
    is_relation = kind in ("model", "seed", "snapshot", "source") and config.get("materialized") != "ephemeral"
    return Node(
        id=node_id,
        kind=kind,
        name=str(name),
        place=(str(node.get("schema") or ""), str(relation)) if is_relation and relation else ("", ""),
        description=str(node.get("description") or ""),
        columns=tuple(_columns(node.get("columns") or {})),
        raw=str(node.get("raw_code") or ""),
        compiled=str(node.get("compiled_code") or compiled),
        language=str(node.get("language") or "sql"),
        file=str(node.get("original_file_path") or ""),
        materialized=str(config.get("materialized") or ""),
        tags=tuple(map(str, node.get("tags") or ())),
        parents=tuple((node.get("depends_on") or _NOTHING).get("nodes") or ()),
    )


def _columns(columns: Mapping[str, Any]) -> Iterator[Column]:
    for name, column in columns.items():
        yield Column(
            str(column.get("name") or name), str(column.get("data_type") or ""), str(column.get("description") or "")
        )


def _compiled(path: Path) -> dict[str, str]:
    try:
        results = json.loads(path.read_bytes())["results"]
        return {each["unique_id"]: each.get("compiled_code") or "" for each in results}
    except UNREADABLE:
        return {}
