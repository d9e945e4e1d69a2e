"""Who owns a node, from dbt's manifest: `meta.owner`, or the owner of its group; of a test, the owner of its model."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dbtpod.ui.text import truncate

# Of one node. A list of a whole team would leave no room for the error.
_LONGEST = 100


def read(target_dir: Path, node_ids: Iterable[str]) -> Mapping[str, str]:
    """Read the owners of these nodes; empty for those without one, or where dbt wrote no manifest there.

    Only these nodes are decoded: the whole manifest of 2,000 nodes takes a hundred times the memory.
    """
    wanted = list(node_ids)
    text = manifest(target_dir) if wanted else ""
    found = {node_id: _owner(text, node_id) for node_id in wanted}
    return {node_id: owner for node_id, owner in found.items() if owner}


def manifest(target_dir: Path) -> str:
    """Return the text of dbt's manifest, to look for single entries in; "" where dbt wrote none there."""
    try:
        return (target_dir / "manifest.json").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def entry(text: str, unique_id: str) -> Mapping[str, Any]:
    """Return what the manifest says of a node, a source or a group; its maps of parents have lists under that key."""
    found = re.search(rf'"{re.escape(unique_id)}":\s*(?=\{{)', text)
    if not found:
        return {}
    try:
        decoded: Any = json.JSONDecoder().raw_decode(text, found.end())[0]
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _owner(text: str, node_id: str) -> str:
    node = entry(text, node_id)
    if owner := _own(text, node):
        return owner
    tested = node.get("attached_node") or next(iter((node.get("depends_on") or {}).get("nodes") or ()), "")
    return _own(text, entry(text, tested)) if tested and node_id.split(".", 1)[0] in ("test", "unit_test") else ""


def _own(text: str, node: Mapping[str, Any]) -> str:
    config = node.get("config") or {}
    for meta in (config.get("meta"), node.get("meta"), node.get("source_meta")):
        if isinstance(meta, dict) and (owner := _text(meta.get("owner"))):
            return owner
    group = config.get("group") or node.get("group")
    # By its name alone: a node is of a group of its own package.
    return _text(entry(text, f"group.{node.get('package_name')}.{group}").get("owner")) if group else ""


def _text(owner: Any) -> str:
    """Write an owner on one line, without the brackets that end it in a message; dbt leaves its form to its users.

    >>> _text({"name": "Finance", "email": ["a@shop.example", "b@shop.example"]})
    'Finance, a@shop.example, b@shop.example'
    """
    if isinstance(owner, dict):
        return _text([owner.get("name"), owner.get("email")])
    if isinstance(owner, list):
        return truncate(", ".join(filter(None, map(_text, owner))), _LONGEST)
    return truncate(" ".join(re.sub(r"[()]", " ", str(owner or "")).split()), _LONGEST)
