"""The SQL of a generation's models, as dbt compiled it: of its own build where that is known, else of an earlier one.

dbt's manifest.json has the SQL of those nodes alone that its command ran: nothing of a model after `dbt test`, one
model after `dbt build --select orders`. The others were compiled by other commands and runs, whose artifacts the
volume keeps for a while. Theirs is taken where the model's file is the same, and the relation that it makes.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# How many manifests of other commands are read, the newest first: a large one takes half a second.
MOST = 60
_UNREADABLE = (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)


def read(manifest: Mapping[str, Any], folder: Path, runs: Path) -> dict[str, str]:
    """Return the SQL of each model and snapshot of a generation's manifest, by its id; without those not known.

    `folder` is the generation's, in `runs` are the artifacts of runs.
    """
    wanted = {
        node_id: _identity(node)
        for node_id, node in manifest["nodes"].items()
        if node.get("resource_type") in ("model", "snapshot") and node.get("language") == "sql"
    }
    found = _of(manifest, wanted)
    for path in _others(folder, runs):
        if not wanted.keys() - found.keys():
            break
        try:
            text = path.read_bytes()
            other = _of(json.loads(text), wanted) if b'"compiled_code"' in text else {}
        except _UNREADABLE:
            continue
        found = other | found
    return found


def _of(manifest: Mapping[str, Any], wanted: Mapping[str, object]) -> dict[str, str]:
    return {
        node_id: node["compiled_code"]
        for node_id, node in manifest["nodes"].items()
        if node.get("compiled_code") and node_id in wanted and wanted[node_id] == _identity(node)
    }


def _identity(node: Mapping[str, Any]) -> object:
    return (node.get("checksum") or {}).get("checksum"), node.get("relation_name")


def _others(folder: Path, runs: Path) -> Iterator[Path]:
    """Name the manifests that were written until this one was, the newest first, which are of the same run."""
    own = (folder / "manifest.json").stat().st_mtime
    dated = []
    for path in [*runs.glob("*/**/manifest.json"), *folder.parent.glob("[0-9]*/manifest.json")]:
        try:
            written = path.stat().st_mtime
        except OSError:  # removed since
            continue
        if written <= own and path.parent != folder:
            dated.append((written, path))
    for _, path in sorted(dated, reverse=True)[:MOST]:
        yield path
