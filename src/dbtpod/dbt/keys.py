"""Which columns tell the rows of a table apart, as dbt's manifest has it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# By schema and name, in lower case.
Keys = Mapping[tuple[str, str], tuple[str, ...]]
# What goes wrong when the file is cut short, or not of a form that dbt writes.
_UNREADABLE = (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)


def read(manifest: Path) -> Keys:
    """Return the key of each relation that has one: of its constraints or tests, or its `unique_key`; {} if unreadable.

    A `unique_key` may be an expression: whoever uses it compares it with the columns that there are.
    """
    try:
        nodes = json.loads(manifest.read_bytes())["nodes"].values()
        found = {(str(node["schema"]).lower(), str(node["alias"]).lower()): _key(node) for node in nodes}
    except _UNREADABLE:
        return {}
    return {place: key for place, key in found.items() if key}


def _key(node: Any) -> tuple[str, ...]:
    known = node.get("primary_key") or (node.get("config") or {}).get("unique_key") or ()
    return (known,) if isinstance(known, str) else tuple(map(str, known))
