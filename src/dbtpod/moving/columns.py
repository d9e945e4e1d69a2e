"""DuckDB's types: what each is in PostgreSQL, how its values are written for COPY, and what is compared afterwards."""

import re
from dataclasses import dataclass

from dbtpod.errors import MoveRefused

_TYPES = {
    "BIGINT": "bigint",
    "BIGNUM": "numeric",
    "BIT": "bit varying",
    "BLOB": "bytea",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DOUBLE": "double precision",
    "FLOAT": "real",
    "HUGEINT": "numeric(39)",
    "INTEGER": "integer",
    "INTERVAL": "interval",
    "JSON": "json",
    "SMALLINT": "smallint",
    "TIME": "time",
    "TIME WITH TIME ZONE": "timetz",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TINYINT": "smallint",
    "UBIGINT": "numeric(20)",
    "UHUGEINT": "numeric(39)",
    "UINTEGER": "bigint",
    "USMALLINT": "integer",
    "UTINYINT": "smallint",
    "UUID": "uuid",
    "VARCHAR": "text",
}
_NESTED = re.compile(r".*\[\d*\]|(STRUCT|MAP|UNION)\(.*", re.DOTALL)
_WHOLE = {"smallint", "integer", "bigint"}


@dataclass(frozen=True)
class Column:
    """A column of a table, in both."""

    name: str
    # As DuckDB's DESCRIBE has it.
    duckdb_type: str
    type: str

    @property
    def value(self) -> str:
        """The SQL that gives what COPY takes."""
        name = quoted(self.name)
        if self.duckdb_type == "BLOB":
            return rf"'\x' || hex({name})"
        return f"to_json({name})" if _NESTED.fullmatch(self.duckdb_type) else name

    @property
    def sum(self) -> str:
        """The SQL, of both, for the sum of the column: of a text's lengths; empty where there is none to compare."""
        name = quoted(self.name)
        if self.type in ("real", "double precision"):
            # Not NaN, which would be the sum's; nor infinite.
            finite = f"{name} > '-infinity' AND {name} < 'infinity'"
            return f"sum(CAST({name} AS double precision)) FILTER (WHERE {finite})"
        if self.type in _WHOLE or self.type.startswith("numeric"):
            return f"sum({name})"
        return f"sum(length({name}))" if self.duckdb_type == "VARCHAR" else ""


def column(name: str, duckdb_type: str) -> Column:
    """Return the column that takes a type's values; MoveRefused names a type that PostgreSQL has nothing for.

    >>> column("amount", "DECIMAL(18,3)").type, column("tags", "VARCHAR[]").type
    ('numeric(18,3)', 'jsonb')
    """
    if decimal := re.fullmatch(r"DECIMAL(\(\d+,\d+\))", duckdb_type):
        return Column(name, duckdb_type, f"numeric{decimal[1]}")
    if _NESTED.fullmatch(duckdb_type):
        return Column(name, duckdb_type, "jsonb")
    if duckdb_type.startswith("ENUM("):
        return Column(name, duckdb_type, "text")
    if duckdb_type not in _TYPES:
        raise MoveRefused(
            f"column {name} is of type {duckdb_type}, for which PostgreSQL has none: cast it in the model, for example "
            "to VARCHAR, and build once more before you move"
        )
    return Column(name, duckdb_type, _TYPES[duckdb_type])


def quoted(name: str) -> str:
    """Write a name in SQL, as both have it."""
    return '"' + name.replace('"', '""') + '"'
