"""Lineage of one node, of the manifest, and of its columns, of what `dbtpod.docs` made of the generation."""

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbtpod.dbt.artifact import UNREADABLE
from dbtpod.docs.made import Made
from dbtpod.warehouse.facts import Generation

_KEPT = 2
# A node, and a column of it.
Place = tuple[str, str]


@dataclass(frozen=True)
class Lineage:
    """The columns of a generation; `problem` says why there are none, `is_being_made` that they come soon."""

    parents: Mapping[Place, tuple[Place, ...]] = field(default_factory=dict)
    children: Mapping[Place, tuple[Place, ...]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    is_being_made: bool = False

    def of(self, node_id: str, column: str) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
        """Return the columns that one is made from, and those that are made from it."""
        place = (node_id, column.lower())
        return self.parents.get(place, ()), self.children.get(place, ())


class Lineages:
    """The column lineage of the last generations that were asked for."""

    def __init__(self, made: Made) -> None:
        self._made = made
        self._lock = threading.Lock()
        self._read: OrderedDict[Path, Lineage] = OrderedDict()

    def of(self, generation: Generation) -> Lineage:
        """Return what is known by now."""
        answer = self._made.lineage(generation)
        if answer.path is None:
            return Lineage(problem=answer.problem, is_being_made=answer.is_being_made)
        with self._lock:
            if answer.path not in self._read:
                self._read[answer.path] = _read(answer.path)
            self._read.move_to_end(answer.path)
            if len(self._read) > _KEPT:
                self._read.popitem(last=False)
            return self._read[answer.path]


def _read(path: Path) -> Lineage:
    try:
        return _inverted(json.loads(path.read_bytes())["nodes"])
    except UNREADABLE:
        return Lineage(problem="The column lineage of this generation cannot be read.")


def _inverted(nodes: Mapping[str, Any]) -> Lineage:
    parents: dict[Place, tuple[Place, ...]] = {}
    children: dict[Place, list[Place]] = {}
    for node_id, node in nodes.items():
        for column, found in node["columns"].items():
            parents[node_id, column.lower()] = tuple((parent, name) for parent, name in found)
            for parent, name in found:
                children.setdefault((parent, name.lower()), []).append((node_id, column))
    problems = {node_id: node["problem"] for node_id, node in nodes.items() if node.get("problem")}
    return Lineage(parents, {place: tuple(each) for place, each in children.items()}, problems)
