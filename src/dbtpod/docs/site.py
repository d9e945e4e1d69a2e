"""dbt docs of one generation as one HTML file, as `dbt docs generate --static` writes it; dbt is not imported.

dbt puts manifest.json and catalog.json as they are into its own index.html, where a description that has `</script>`
ends the script. Here no `<` reaches the page: JSON has it in texts alone, and `\\u003c` is the same there.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dbtpod.docs.tables import Place, Table
from dbtpod.errors import WarehouseUnusable

MANIFEST = "manifest.json"
_SCHEMA = "https://schemas.getdbt.com/dbt/catalog/v1.json"
# The texts that dbt replaces, in this order.
_PLACES = (b'"MANIFEST.JSON INLINE DATA"', b'"CATALOG.JSON INLINE DATA"')
# Those that a catalog describes; an ephemeral model is none of them.
_RELATIONS = ("model", "seed", "snapshot")


def page(manifest: bytes, found: Mapping[str, Any]) -> bytes:
    """Return the page of a manifest and a catalog; WarehouseUnusable where dbt's has no place for them."""
    rest = index()
    parts = []
    for place, text in zip(_PLACES, (manifest, json.dumps(found).encode()), strict=True):
        # Apart, as the manifest may hold the other's text.
        before, there, rest = rest.partition(place)
        if not there:
            raise WarehouseUnusable(
                f"The page of the installed dbt has no {place.decode()}, which its docs are put at."
            )
        parts += [before, text.replace(b"<", rb"\u003c")]
    return b"".join([*parts, rest])


def index() -> bytes:
    """Return dbt's own page, found without an import: that takes seconds."""
    spec = find_spec("dbt")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "task", "docs", "index.html")
        if path.is_file():
            return path.read_bytes()
    raise WarehouseUnusable("The installed dbt has no task/docs/index.html, which its docs are made of.")


def read(manifest: bytes) -> dict[str, Any]:
    """Parse a manifest; WarehouseUnusable where it is not one."""
    try:
        found = json.loads(manifest)
        if isinstance(found["nodes"], dict) and isinstance(found["sources"], dict):
            return dict(found)
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise WarehouseUnusable(f"Its {MANIFEST} is damaged, so it has no docs and no lineage.")


def catalog(manifest: Mapping[str, Any], tables: Iterable[Table], at: datetime) -> dict[str, Any]:
    """Return what catalog.json holds: of each node and source that is in the DuckDB file."""
    # Of two nodes with one relation, the later is the one that dbt takes.
    nodes = {_place(node): node_id for node_id, node in manifest["nodes"].items() if _is_relation(node)}
    sources: dict[Place, list[str]] = {}
    for source_id, source in manifest["sources"].items():
        sources.setdefault(_place(source), []).append(source_id)
    found: dict[str, dict[str, Any]] = {"nodes": {}, "sources": {}}
    for table in tables:
        if table.columns and (node_id := nodes.get(table.key)):
            found["nodes"][node_id] = _entry(table, node_id)
        for source_id in sources.get(table.key, ()) if table.columns else ():
            found["sources"][source_id] = _entry(table, source_id)
    said = manifest.get("metadata") or {}
    metadata: dict[str, Any] = {
        "dbt_schema_version": _SCHEMA,
        "dbt_version": said.get("dbt_version"),
        "generated_at": at.isoformat(),
        "invocation_id": said.get("invocation_id"),
        "env": {},
    }
    return {"metadata": metadata, **found, "errors": None}


def _is_relation(node: Mapping[str, Any]) -> bool:
    is_ephemeral = (node.get("config") or {}).get("materialized") == "ephemeral"
    return node["resource_type"] in _RELATIONS and not is_ephemeral


def _place(node: Mapping[str, Any]) -> Place:
    name = node.get("identifier") or node.get("alias") or node["name"]
    return str(node.get("database")).lower(), str(node["schema"]).lower(), str(name).lower()


def _entry(table: Table, unique_id: str) -> dict[str, Any]:
    catalog_name, schema, name = table.place
    return {
        "unique_id": unique_id,
        "metadata": {
            "type": "VIEW" if table.rows is None else "BASE TABLE",
            "database": catalog_name,
            "schema": schema,
            "name": name,
            "comment": table.comment,
            "owner": None,
        },
        "columns": {
            column.name: {"type": column.type, "index": index, "name": column.name, "comment": column.comment}
            for index, column in enumerate(table.columns, 1)
        },
        "stats": _stats(table.rows),
    }


def _stats(rows: int | None) -> dict[str, Any]:
    counted = {} if rows is None else {"num_rows": _stat("num_rows", "# Rows", rows, "Number of rows", True)}
    says = "Indicates whether there are statistics for this table"
    return {"has_stats": _stat("has_stats", "Has Stats?", bool(counted), says, False), **counted}


def _stat(name: str, label: str, value: float, says: str, is_shown: bool) -> dict[str, Any]:
    return {"id": name, "label": label, "value": value, "include": is_shown, "description": says}
