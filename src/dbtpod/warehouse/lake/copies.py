"""A build's own catalog in PostgreSQL: a schema, copied from another one, and dropped.

A copy takes every table as it is, with its keys, so it does not need to know what DuckLake has in them. What is read
off them is in DuckLake's specification: the version and the place of the data files in `ducklake_metadata`, the
snapshots, and the paths of files.
"""

from typing import Any

from dbtpod.dbt.lake import Lake
from dbtpod.errors import SettingsError, WarehouseUnusable
from dbtpod.warehouse.database import quoted
from dbtpod.warehouse.lake.session import Session

# The version of the catalog that DuckDB 1.5's extension reads and writes.
VERSION = "1.0"
_OF_DUCKLAKE = "ducklake_%"


def exists(session: Session, schema: str) -> bool:
    """Return whether the schema has a DuckLake's catalog in it."""
    return session.ask("SELECT to_regclass(%s) IS NOT NULL", [f"{quoted(schema)}.ducklake_metadata"]) == [(True,)]


def check(session: Session, schema: str, lake: Lake) -> None:
    """WarehouseUnusable where it is of another version of DuckLake, SettingsError where its files are elsewhere."""
    rows = session.ask(f"SELECT key, value FROM {quoted(schema)}.ducklake_metadata WHERE scope IS NULL")
    found = dict(rows)
    version, place = str(found.get("version")), str(found.get("data_path", "")).rstrip("/") + "/"
    if version != VERSION:
        is_newer = _number(version) > _number(VERSION)
        help_ = (
            "use the image that made it, or a newer one"
            if is_newer
            else "bring it to that version first (ATTACH … (AUTOMATIC_MIGRATION true)), with a backup of the schema"
        )
        raise WarehouseUnusable(
            f"The catalog {schema} in PostgreSQL at {lake.host}:{lake.port} is of DuckLake {version}, which is "
            f"{'newer' if is_newer else 'older'} than the {VERSION} of this image: {help_}. Nothing was changed."
        )
    if place != lake.data_path:
        raise SettingsError(
            f"The {lake} was made with its files in {place}: set `data_path` in the profile to that, or give "
            "`metadata_schema` another name, which begins with nothing."
        )


def make(session: Session, source: str | None, schema: str) -> None:
    """Make the schema, with a copy of each table of the source; inside of a transaction."""
    session.ask(f"CREATE SCHEMA {quoted(schema)}")
    for (table,) in _tables(session, source) if source else ():
        old, new = (f"{quoted(of)}.{quoted(table)}" for of in (str(source), schema))
        session.ask(f"CREATE TABLE {new} (LIKE {old} INCLUDING ALL)")
        session.ask(f"INSERT INTO {new} SELECT * FROM {old}")


def forget_scheduled(session: Session, schema: str) -> None:
    """Have it name no file as one to delete: they are of the builds before, which delete them when they go."""
    session.ask(f"DELETE FROM {quoted(schema)}.ducklake_files_scheduled_for_deletion")


def snapshot(session: Session, schema: str) -> int:
    """Return the newest snapshot: another one after each commit."""
    [[found]] = session.ask(f"SELECT max(snapshot_id) FROM {quoted(schema)}.ducklake_snapshot")
    return int(found)


def drop(session: Session, schema: str) -> None:
    """Remove the schema with all that is in it."""
    session.ask(f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE")


def files(session: Session, schema: str, *, scheduled: bool) -> set[str]:
    """Return the data files that it names, in full; with those that it would delete if it was asked to."""
    s = quoted(schema)
    place = f"(SELECT value FROM {s}.ducklake_metadata WHERE key = 'data_path' AND scope IS NULL)"
    parts = [
        f"SELECT CASE WHEN NOT f.path_is_relative THEN f.path WHEN NOT t.path_is_relative THEN t.path || f.path "
        f"WHEN NOT s.path_is_relative THEN s.path || t.path || f.path ELSE {place} || s.path || t.path || f.path END "
        f"FROM {s}.{table} f JOIN {s}.ducklake_table t USING (table_id) JOIN {s}.ducklake_schema s USING (schema_id)"
        for table in ("ducklake_data_file", "ducklake_delete_file")
    ]
    if scheduled:
        parts.append(
            f"SELECT CASE WHEN path_is_relative THEN {place} || path ELSE path END "
            f"FROM {s}.ducklake_files_scheduled_for_deletion"
        )
    return {path for (path,) in session.ask(" UNION ".join(parts))}


def schedule(session: Session, schema: str, paths: set[str]) -> None:
    """Have it name these files, and no other, as those to delete."""
    with session.transaction():
        forget_scheduled(session, schema)
        session.ask(
            f"INSERT INTO {quoted(schema)}.ducklake_files_scheduled_for_deletion "
            "SELECT row_number() OVER (), path, false, now() FROM unnest(%s::text[]) path",
            [sorted(paths)],
        )


def _tables(session: Session, schema: str) -> list[tuple[Any, ...]]:
    return session.ask(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename LIKE %s ORDER BY 1", [schema, _OF_DUCKLAKE]
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("-")[0].split(".") if part.isdecimal())
