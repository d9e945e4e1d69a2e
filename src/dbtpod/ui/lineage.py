"""Which node is built on which, from dbt's manifest."""

import json
import re
from collections import deque
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

Parents = Mapping[str, Sequence[str]]
_KEY = re.compile(r'"parent_map":\s*')


def read_parents(target_dir: Path) -> Parents:
    """Read each node's direct parents; empty if dbt wrote no whole manifest there.

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


def nearest(node_id: str, parents: Parents, known: Container[str]) -> list[str]:
    """Return the nearest ancestors that are known, each once: what is not (a source, ephemeral) is stepped over.

    >>> nearest("c", {"c": ["b"], "b": ["a"]}, {"a"})
    ['a']
    """
    found: dict[str, None] = {}
    waiting, seen = deque(parents.get(node_id, ())), {node_id}
    while waiting:
        parent = waiting.popleft()
        if parent in seen:
            continue
        seen.add(parent)
        if parent in known:
            found[parent] = None
        else:
            waiting.extend(parents.get(parent, ()))
    return list(found)
