"""The process that reads a generation with DuckDB: it lists what is in it, or writes one table or view to a file.

A process of its own, so that a large table takes neither the reader's memory nor its time, and a damaged file only
this process; it is killed when the client goes away. Run by path, with what to do as JSON; the answer is JSON too:

    {"database": "…", "catalog": "warehouse"}                                 {"names": [["main", "orders"]]}
    … and "place": ["main", "orders"], "target": "orders.csv", …              {} or {"problem": "why not"}
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import duckdb

from dbtpod.warehouse.database import literal, quoted

# The writer of Parquet keeps a row group; what a view sorts or joins goes to the temporary folder.
MEMORY = "256MB"


def main(asked: str) -> None:
    """Do it, in the time and the room that there is."""
    request = json.loads(asked)
    os.nice(10)
    signal.alarm(request["seconds"])
    try:
        print(json.dumps(_do(**request)))  # noqa: T201
    except (duckdb.Error, OSError) as error:
        print(json.dumps({"problem": str(error).splitlines()[0]}))  # noqa: T201


def _do(
    database: str,
    catalog: str,
    seconds: int,
    place: tuple[str, str] | None = None,
    target: str = "",
    spill: str = "",
    most: int = 0,
) -> dict[str, object]:
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": MEMORY,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    if place:
        # Python ignores the signal, so that a file that grows too large is an error of writing.
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        config |= {"temp_directory": spill, "max_temp_directory_size": f"{most}B"}
    with duckdb.connect(config=config) as connection:
        # By the name that views hold.
        connection.execute(f"ATTACH {literal(database)} AS {quoted(catalog)} (READ_ONLY)")
        connection.execute(f"USE {quoted(catalog)}")
        if not place:
            found = connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $1 AND NOT internal "
                "UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = $1 AND NOT internal "
                "ORDER BY ALL",
                [catalog],
            )
            return {"names": found.fetchall()}
        # A view may name any file, and any address: nothing but this one is touched.
        connection.execute(f"SET allowed_paths = [{literal(target)}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        relation = ".".join(map(quoted, (catalog, *place)))
        form = Path(target).suffix[1:]
        connection.execute(f"COPY (FROM {relation}) TO {literal(target)} (FORMAT {form})")
    return {}


if __name__ == "__main__":
    main(sys.argv[1])
