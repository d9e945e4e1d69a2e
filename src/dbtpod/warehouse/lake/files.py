"""What DuckDB does with a DuckLake beside dbt: makes a catalog, expires snapshots by number, deletes data files."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import duckdb

from dbtpod.dbt import extensions, failures
from dbtpod.dbt.failures import Kind
from dbtpod.dbt.lake import Lake
from dbtpod.errors import ConnectionLost, SettingsError, WarehouseUnusable
from dbtpod.warehouse.database import literal

_ALIAS = "lake"
# Our own way with files knows what other builds name; DuckLake's knows one catalog. A CHECKPOINT in a user's hook then
# deletes none, as it would by default after two days.
_NEVER = "1000 years"


def prepare(lake: Lake, schema: str) -> None:
    """Make the catalog in that schema where there is none, and leave no snapshot in it but the newest.

    SettingsError where the place of the data files cannot be used, ConnectionLost where it is away.
    """
    with _attached(lake, schema) as connection:
        _check_place(lake, connection)
        [*old, _newest] = [
            row[0] for row in connection.execute(f"SELECT snapshot_id FROM {_ALIAS}.snapshots() ORDER BY 1").fetchall()
        ]
        if old:
            connection.execute(f"CALL ducklake_expire_snapshots('{_ALIAS}', versions => ?)", [old])
        connection.execute(f"CALL {_ALIAS}.set_option('delete_older_than', '{_NEVER}')")


def delete(lake: Lake, schema: str) -> int:
    """Delete the files that this catalog names as those to delete; return how many."""
    with _attached(lake, schema) as connection:
        found = connection.execute(f"CALL ducklake_cleanup_old_files('{_ALIAS}', cleanup_all => true)").fetchall()
        return len(found)


def missing(lake: Lake, paths: set[str]) -> set[str]:
    """Return those that are not where they should be."""
    with _opened(lake) as connection:
        found = connection.execute("SELECT file FROM glob(?)", [f"{lake.data_path}**"]).fetchall()
        return {path for path in paths - {str(row[0]) for row in found} if not _is_there(connection, path)}


def _is_there(connection: duckdb.DuckDBPyConnection, path: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM glob(?)", [path]).fetchall())


@contextmanager
def _attached(lake: Lake, schema: str) -> Iterator[duckdb.DuckDBPyConnection]:
    options = f"METADATA_SCHEMA {literal(schema)}, DATA_PATH {literal(lake.data_path)}"
    with _opened(lake) as connection:
        connection.execute(f"ATTACH {literal('ducklake:postgres:' + lake.address)} AS {_ALIAS} ({options})")
        yield connection


@contextmanager
def _opened(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a DuckDB with the profile's settings and secrets."""
    with _errors(lake), closing(duckdb.connect(config=dict(extensions.settings()))) as connection:
        for number, one in enumerate(lake.secrets):
            connection.execute(_secret(number, one))
        for name, value in lake.settings.items():
            connection.execute(f"SET {name} = {literal(str(value))}")
        yield connection


def _secret(number: int, given: Mapping[str, Any]) -> str:
    """Write a secret of the profile as SQL has it, as dbt-duckdb does."""
    bare = {"type", "provider"}
    words = [
        f"{key} {value if key in bare else _value(value)}"
        for key, value in given.items()
        if key not in ("name", "persistent", "scope") and value is not None
    ]
    scope = given.get("scope") or []
    words += [f"scope {literal(one)}" for one in ([scope] if isinstance(scope, str) else scope)]
    return f"CREATE SECRET secret_{number} ({', '.join(words)})"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"MAP {{{', '.join(f'{literal(str(key))}: {literal(str(each))}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(literal(str(each)) for each in value)}]"
    return literal(str(value))


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
    """Turn what DuckDB says into our errors, without the password that it repeats."""
    try:
        yield
    except duckdb.Error as error:
        text = str(error).replace(lake.address, "…").splitlines()[0]
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
