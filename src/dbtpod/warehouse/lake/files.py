"""What DuckDB does with a DuckLake beside dbt: makes a catalog, expires snapshots by number, deletes data files."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from dbtpod.dbt import extensions, failures
from dbtpod.dbt.failures import Kind
from dbtpod.dbt.lake import Lake
from dbtpod.errors import ConnectionLost, SettingsError, WarehouseUnusable
from dbtpod.warehouse.database import literal

ALIAS = "lake"
# Our own way with files knows what other builds name; DuckLake's knows one catalog. A CHECKPOINT in a user's hook then
# deletes none, as it would by default after two days.
_NEVER = "1000 years"


def prepare(lake: Lake, schema: str) -> None:
    """Make the catalog in that schema where there is none, and leave no snapshot in it but the newest.

    SettingsError where the place of the data files cannot be used, ConnectionLost where it is away.
    """
    with attached(lake, schema) as connection:
        _check_place(lake, connection)
        _expire(connection)
        connection.execute(f"CALL {ALIAS}.set_option('delete_older_than', '{_NEVER}')")


def expire(lake: Lake, schema: str) -> None:
    """Leave no snapshot in the catalog but the newest: what it replaced is then named by the builds before alone."""
    with attached(lake, schema) as connection:
        _expire(connection)


def delete(lake: Lake, schema: str) -> int:
    """Delete the files that this catalog names as those to delete; return how many."""
    with attached(lake, schema) as connection:
        found = connection.execute(f"CALL ducklake_cleanup_old_files('{ALIAS}', cleanup_all => true)").fetchall()
        return len(found)


def missing(lake: Lake, paths: set[str]) -> set[str]:
    """Return those that are not where they should be."""
    with opened(lake) as connection:
        found = connection.execute("SELECT file FROM glob(?)", [f"{lake.data_path}**"]).fetchall()
        return {path for path in paths - {str(row[0]) for row in found} if not _is_there(connection, path)}


def _expire(connection: duckdb.DuckDBPyConnection) -> None:
    """Expire all but the newest, each by its number: no clock has a say in it."""
    rows = connection.execute(f"SELECT snapshot_id FROM {ALIAS}.snapshots() ORDER BY 1").fetchall()
    if old := [row[0] for row in rows[:-1]]:
        connection.execute(f"CALL ducklake_expire_snapshots('{ALIAS}', versions => ?)", [old])


def _is_there(connection: duckdb.DuckDBPyConnection, path: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM glob(?)", [path]).fetchall())


@contextmanager
def attached(lake: Lake, schema: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB with the catalog of that schema attached as ALIAS, made where it is not there."""
    options = f"METADATA_SCHEMA {literal(schema)}, DATA_PATH {literal(lake.data_path)}"
    with opened(lake) as connection:
        connection.execute(f"ATTACH {literal(lake.attach_path)} AS {ALIAS} ({options})")
        yield connection


@contextmanager
def opened(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB with the profile's settings and secrets."""
    with _errors(lake), closing(duckdb.connect(config=dict(extensions.settings()))) as connection:
        for statement in lake.secrets_sql:
            connection.execute(statement)
        for name, value in lake.settings.items():
            connection.execute(f"SET {name} = {literal(str(value))}")
        yield connection


def _check_place(lake: Lake, connection: duckdb.DuckDBPyConnection) -> None:
    """See that the place of the data files is there; what may not be written there, the first model says."""
    if "://" in lake.data_path:
        connection.execute("SELECT count(*) FROM glob(?)", [f"{lake.data_path}*"]).fetchall()
    elif not Path(lake.data_path).is_dir():
        raise SettingsError(
            f"The folder {lake.data_path} of the {lake} does not exist: create it or mount it, in each pod that reads "
            "or writes."
        )


@contextmanager
def _errors(lake: Lake) -> Iterator[None]:
    """Turn what DuckDB says into our errors."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error).splitlines()[0]
        if isinstance(error, duckdb.HTTPException) or failures.kind_of(str(error)) is not Kind.LASTING:
            if _is_refused(text):
                raise SettingsError(
                    f"{lake.data_path} cannot be used: {text}. Check `data_path`, the bucket, and the profile's "
                    "`secrets` with the Secret that the pods get them from (jobs.envFrom)."
                ) from error
            raise ConnectionLost(f"The {lake} cannot be reached: {text}.") from error
        raise WarehouseUnusable(f"The {lake} cannot be used: {text}.") from error


def _is_refused(text: str) -> bool:
    return any(code in text for code in ("HTTP 400", "HTTP 401", "HTTP 403", "HTTP 404", "(HTTP 30"))
