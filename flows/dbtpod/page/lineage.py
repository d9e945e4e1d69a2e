"""Who feeds whom, from dbt's manifest, and which task runs stand for it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

Parents = Mapping[str, Sequence[str]]
_KEY = '"parent_map": '


def read_parents(target_dir: Path) -> Parents:
    """Each node's direct parents; empty if dbt wrote no manifest there.

    Only that one map is decoded: the whole manifest of 2,000 nodes takes a hundred times the memory.
    """
    path = target_dir / "manifest.json"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    start = text.rfind(_KEY)
    parents: Any = json.JSONDecoder().raw_decode(text, start + len(_KEY))[0] if start >= 0 else {}
    return dict(parents)


def upstream(node_id: str, parents: Parents, runs: Mapping[str, UUID]) -> list[UUID]:
    """The runs of the nearest ancestors that ran: what did not run itself (a source, ephemeral) is stepped over."""
    found: dict[str, UUID] = {}
    seen = {node_id}
    waiting = [node_id]
    while waiting:
        for parent in parents.get(waiting.pop(), ()):
            if parent in seen:
                continue
            seen.add(parent)
            if parent in runs:
                found[parent] = runs[parent]
            else:
                waiting.append(parent)
    return list(found.values())
