"""Who feeds whom, from dbt's manifest, and which task runs stand for it."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

Parents = Mapping[str, Sequence[str]]
_KEY = re.compile(r'"parent_map":\s*')


def read_parents(target_dir: Path) -> Parents:
    """Each node's direct parents; empty if dbt wrote no whole manifest there.

    Only that one map is decoded: the whole manifest of 2,000 nodes takes a hundred times the memory.
    """
    path = target_dir / "manifest.json"
    try:
        text = path.read_text(encoding="utf-8")
        *_, key = _KEY.finditer(text)
        parents: Any = json.JSONDecoder().raw_decode(text, key.end())[0]
        return dict(parents)
    except (OSError, TypeError, ValueError):
        return {}


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
