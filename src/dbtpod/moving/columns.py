"""A column of a table that is moved: its type here and there, its values as they are written, and what is compared."""

import re
from dataclasses import dataclass

_WHOLE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|BIGNUM|DECIMAL\(.*")


@dataclass(frozen=True)
class Column:
    """A column of a table, in both."""

    name: str
    # As DuckDB's DESCRIBE has it.
    duckdb_type: str
    type: str
    # The SQL that gives what is written there.
    value: str

    @property
    def sum(self) -> str:
        """The SQL, of both, for the sum of the column: of a text's lengths; empty where there is none to compare."""
        name = quoted(self.name)
        if self.duckdb_type in ("FLOAT", "DOUBLE"):
            # Not NaN, which would be the sum's; nor infinite.
            finite = f"{name} > '-infinity' AND {name} < 'infinity'"
            return f"sum(CAST({name} AS double precision)) FILTER (WHERE {finite})"
        if _WHOLE.fullmatch(self.duckdb_type):
            return f"sum({name})"
        return f"sum(length({name}))" if self.duckdb_type == "VARCHAR" else ""


def quoted(name: str) -> str:
    """Write a name in SQL, as both have it."""
    return '"' + name.replace('"', '""') + '"'
