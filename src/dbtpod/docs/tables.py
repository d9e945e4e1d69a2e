"""The tables and views of a DuckDB file, with their columns: what its docs and its lineage ask of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import database

# Catalog, schema and name; in lower case where places are compared, as DuckDB does.
Place = tuple[str, str, str]
# One process of low priority: its own threads and buffers must not take what the other work of the pod needs.
_BOUNDS: Mapping[str, str] = {"threads": "1", "memory_limit": "256MB", "temp_directory": ""}


@dataclass(frozen=True)
class Column:
    """A column of a table or view."""

    name: str
    type: str
    comment: str | None


@dataclass
class Table:
    """A table, or a view, which has no rows of its own."""

    place: Place
    comment: str | None
    rows: int | None
    columns: list[Column] = field(default_factory=list)

    @property
    def key(self) -> Place:
        """Its place, to be compared."""
        catalog, schema, name = self.place
        return catalog.lower(), schema.lower(), name.lower()


def read(path: Path) -> list[Table]:
    """Return those of a file, by their names; it is only read. WarehouseUnusable where that is not possible."""
    try:
        with duckdb.connect(path, read_only=True, config=dict(_BOUNDS)) as connection:
            return _read(connection)
    except duckdb.Error as error:
        raise WarehouseUnusable(f"{path} cannot be read: {str(error).splitlines()[0]}") from error


def declared(manifest: Mapping[str, Any]) -> list[Table]:
    """Return those that a manifest names, with the columns that the project gives them: a server is not asked."""
    nodes = [*manifest["nodes"].values(), *manifest["sources"].values()]
    return [_declared(node) for node in nodes if node.get("schema") and node.get("columns")]


def _declared(node: Mapping[str, Any]) -> Table:
    name = str(node.get("identifier") or node.get("alias") or node["name"])
    columns = [Column(str(each["name"]), each.get("data_type") or "", None) for each in node["columns"].values()]
    return Table((str(node.get("database")), str(node["schema"]), name), None, None, columns)


def _read(connection: duckdb.DuckDBPyConnection) -> list[Table]:
    found: dict[Place, Table] = {}
    tables = connection.execute(
        "SELECT database_name, schema_name, table_name, comment, true FROM duckdb_tables() "
        "WHERE database_name = current_database() AND NOT internal UNION ALL "
        "SELECT database_name, schema_name, view_name, comment, false FROM duckdb_views() "
        "WHERE database_name = current_database() AND NOT internal ORDER BY ALL"
    ).fetchall()
    for *place, comment, has_rows in tables:
        catalog, schema, name = map(str, place)
        rows = None
        if has_rows:
            quoted = ".".join(map(database.quoted, (catalog, schema, name)))
            [[rows]] = connection.execute(f"SELECT count(*) FROM {quoted}").fetchall()  # noqa: S608
        found[catalog, schema, name] = Table((catalog, schema, name), comment, rows)
    columns = connection.execute(
        "SELECT database_name, schema_name, table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE database_name = current_database() AND NOT internal ORDER BY column_index"
    ).fetchall()
    for catalog, schema, name, column, kind, comment in columns:
        if table := found.get((catalog, schema, name)):
            table.columns.append(Column(column, kind, comment))
    return list(found.values())
