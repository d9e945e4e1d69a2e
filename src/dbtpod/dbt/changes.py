"""What is another in a project than in the manifest of an attempt before, and whether what was built is good still.

dbt itself says which nodes are modified: `state:modified`, which looks at the macros of each node, too. What it cannot
know is what the attempt has left in the database: that is judged here, and where it is not certain the answer is no.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dbtpod.dbt import variables
from dbtpod.dbt.repeatable import is_made_anew, is_undone

_KINDS = ("nodes", "unit_tests", "sources", "exposures", "saved_queries", "functions")
# What else of a manifest decides which nodes a command selects.
_SELECTABLE = (*_KINDS, "metrics", "semantic_models", "selectors")
# Of a node, what no selection looks at: its text, and what dbt notes while it compiles and runs it.
_NOT_SELECTED_BY = {
    *("raw_code", "checksum", "created_at"),
    *("compiled", "compiled_code", "compiled_path", "extra_ctes", "extra_ctes_injected", "build_path"),
}
# They leave a relation of their name.
_RELATIONS = ("model", "seed", "snapshot")

Node = Mapping[str, Any]


class NotContinued(Exception):
    """What was built cannot be built on; the text says why."""


@dataclass(frozen=True)
class Manifest:
    """What dbt wrote of a project."""

    content: Mapping[str, Any]

    @property
    def dbt(self) -> str:
        """The version that wrote it."""
        return str(self.content["metadata"]["dbt_version"])

    @property
    def adapter(self) -> str:
        """Its adapter."""
        return str(self.content["metadata"].get("adapter_type"))

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """Everything that depends on something, and the sources."""
        return {node_id: node for kind in _KINDS for node_id, node in (self.content.get(kind) or {}).items()}

    @property
    def macros(self) -> Mapping[str, Node]:
        """The macros, dbt's own too."""
        found: Mapping[str, Node] = self.content["macros"]
        return found

    def descendants(self, roots: Iterable[str]) -> set[str]:
        """Return the roots and all that is built on them."""
        children: dict[str, list[str]] = {}
        for node_id, node in self.nodes.items():
            for parent in _depends_on(node, "nodes"):
                children.setdefault(parent, []).append(node_id)
        return _closure(roots, children)


def read(target_dir: Path) -> Manifest:
    """Read the manifest that dbt left in a target folder; NotContinued where there is none that can be read."""
    path = target_dir / "manifest.json"
    try:
        found = Manifest(json.loads(path.read_text(encoding="utf-8")))
        _ = found.dbt, found.macros, found.nodes
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotContinued(f"{path} cannot be read") from error
    return found


def selects_alike(before: Manifest, now: Manifest) -> bool:
    """Say whether a command selects the same nodes in both, if it looks at nothing but the project.

    That is so where nothing but the text of nodes has changed: the common fix, for which dbt need not list them again.
    """
    is_alike = all(_of_selection(before, kind) == _of_selection(now, kind) for kind in _SELECTABLE)
    return before.dbt == now.dbt and is_alike


def by_variables(before: Manifest, now: Manifest, names: Collection[str]) -> set[str]:
    """Return the nodes that are others because these environment variables have other values.

    `state:modified` compares what is written, and so does not see them.
    """
    both = before.nodes.keys() & now.nodes.keys() if names else set()
    return {
        node_id
        for node_id in both
        if _reads(now.nodes[node_id].get("raw_code"), names)
        or _config(before.nodes[node_id]) != _config(now.nodes[node_id])
    }


def void(
    before: Manifest,
    now: Manifest,
    modified: Collection[str],
    good: Collection[str],
    left: Collection[str],
    names: Collection[str] = (),
) -> frozenset[str]:
    """Return which of the nodes that are `good` have to be built again, because they are modified or built on such.

    `left` are the nodes that are to run anyway, `names` the environment variables that have other values.
    NotContinued where building them again on what is there would leave something else than a build from nothing.
    """
    if before.dbt != now.dbt:
        raise NotContinued(f"dbt is {now.dbt} now, and was {before.dbt}")
    built = {node_id: before.nodes[node_id] for node_id in good if node_id in before.nodes}
    _check_relations(built, now)
    _check_seeds(built, modified)
    _check_macros(before, now, built, names)
    again = now.descendants({*modified, *left}) & built.keys()
    for node_id in sorted(again):
        if not (is_made_anew(_config(built[node_id])) and is_made_anew(_config(now.nodes[node_id]))):
            raise NotContinued(
                f"{node_id} was built and keeps rows of earlier builds, and it or what it is built on has changed"
            )
    for node_id in sorted(set(left) & set(modified) & before.nodes.keys()):
        if not is_undone(_config(before.nodes[node_id]), before.adapter):
            raise NotContinued(f"{node_id} has changed, and what it left when it failed is not known")
    return frozenset(again)


def _of_selection(manifest: Manifest, kind: str) -> dict[str, object]:
    entries: Mapping[str, Any] = manifest.content.get(kind) or {}
    return {name: _selectable(entry) if isinstance(entry, dict) else entry for name, entry in entries.items()}


def _selectable(entry: Node) -> dict[str, object]:
    """Return what a selection may look at; an empty file is not counted among what runs."""
    found = {key: value for key, value in entry.items() if key not in _NOT_SELECTED_BY}
    code = {"has_code": bool((entry.get("raw_code") or "").strip())} if "raw_code" in entry else {}
    return found | code | {"depends_on": _depends_on(entry, "nodes")}


def _check_relations(built: Mapping[str, Node], now: Manifest) -> None:
    for node_id, node in built.items():
        if node.get("resource_type") not in _RELATIONS or _config(node).get("materialized") == "ephemeral":
            continue
        if node_id not in now.nodes:
            raise NotContinued(f"{node_id} was built, and the project has it no more")
        if _relation(node) != _relation(now.nodes[node_id]):
            raise NotContinued(f"{node_id} was built as {_relation(node)}, and is {_relation(now.nodes[node_id])} now")


def _check_seeds(built: Mapping[str, Node], modified: Collection[str]) -> None:
    for node_id, node in built.items():
        if node.get("resource_type") != "seed":
            continue
        if node_id in modified:
            raise NotContinued(f"{node_id} was loaded, and has changed")
        if (node.get("checksum") or {}).get("name") == "path":
            raise NotContinued(f"{node_id} was loaded, and is too large for dbt to tell whether it has changed")


def _check_macros(before: Manifest, now: Manifest, built: Mapping[str, Node], names: Collection[str]) -> None:
    """Refuse a changed macro that something good was built with, or may have been: not all uses are written down."""
    both = {**before.macros, **now.macros}
    changed = {name for name in both if _sql(before, name) != _sql(now, name) or _reads(_sql(now, name), names)}
    if not changed or not built:
        return
    calls = {name: [*_macros_of(before, name), *_macros_of(now, name)] for name in both}
    hooks = [node for node in before.nodes.values() if node.get("resource_type") == "operation"]
    for node in [*built.values(), *hooks]:
        if used := sorted(_closure(_depends_on(node, "macros"), calls) & changed):
            raise NotContinued(f"{used[0]} has changed, and {node['unique_id']} was built with it")
    # Materializations, and what names schemas and relations, are called by dbt itself.
    called = {name for names in calls.values() for name in names}
    for manifest in (before, now):
        called |= {name for node in manifest.nodes.values() for name in _depends_on(node, "macros")}
    if used := sorted(_closure(both.keys() - called, calls) & changed):
        raise NotContinued(f"{used[0]} has changed, and any node may have been built with it")


def _sql(manifest: Manifest, name: str) -> object:
    return (manifest.macros.get(name) or {}).get("macro_sql")


def _reads(text: object, names: Collection[str]) -> bool:
    return bool(names) and isinstance(text, str) and not variables.named(text).isdisjoint(names)


def _macros_of(manifest: Manifest, name: str) -> list[str]:
    return _depends_on(manifest.macros.get(name) or {}, "macros")


def _depends_on(node: Node, kind: str) -> list[str]:
    return list((node.get("depends_on") or {}).get(kind) or ())


def _config(node: Node) -> Mapping[str, Any]:
    found: Mapping[str, Any] = node.get("config") or {}
    # A unit test has no materialization, and leaves nothing.
    return found if node.get("resource_type") != "unit_test" else {}


def _relation(node: Node) -> str:
    return ".".join(str(node.get(part)) for part in ("database", "schema", "alias"))


def _closure(roots: Iterable[str], edges: Mapping[str, Collection[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(edges.get(one, ()))
    return found
