"""What `dbtpod move` does: the tables of a generation to where the warehouse is now."""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbtpod import settings
from dbtpod.dbt import arguments, kinds, listing, process, profile, reachable
from dbtpod.dbt.listing import NotListed
from dbtpod.dbt.project import Project
from dbtpod.errors import MoveRefused
from dbtpod.generations import Found
from dbtpod.moving import copying, ducklake, postgres, tables
from dbtpod.moving.tables import Table
from dbtpod.warehouse import database, lock, warehouse
from dbtpod.warehouse.built import Run
from dbtpod.warehouse.certificate import Certificate
from dbtpod.warehouse.facts import MANIFEST, Generation
from dbtpod.warehouse.lake.ducklake import DuckLake
from dbtpod.warehouse.remote import Remote

# A run that writes is worth waiting for.
LOCK_SECONDS = 3600.0
_NAME = "dbtpod move"
_LOG = logging.getLogger(__name__)
# Copies the tables of a generation, and returns how many rows they have; the path has the project's manifest.
_Into = Callable[[Generation, Sequence[Table], Path, Callable[[str], None]], int]


def move(number: int | None, say: Callable[[str], None]) -> Found:
    """Copy a generation, the newest with a DuckDB file where no number is given; the lines to print, and no others."""
    given = settings.from_environment()
    kept = warehouse.of(given)
    if not isinstance(kept, Remote | DuckLake):
        raise MoveRefused(
            "Not moved: the data is to go where runs write, and that is the DuckDB file on the volume. Set "
            f"warehouse.kind to {kinds.DUCKLAKE} or {kinds.REMOTE} in the chart's values ({kinds.VARIABLE}) first."
        )
    kept.volume.check(writes=True)
    chosen = _chosen(kept, number)
    ours = warehouse.project(given)
    into = _lake(kept) if isinstance(kept, DuckLake) else _server(kept, ours, chosen, say)
    there = database.tables(chosen.database)
    with _listed(ours) as manifest:
        moved = tables.of_nodes(_content(chosen.database.with_name(MANIFEST)), _content(manifest), there)
        if not moved:
            raise MoveRefused(f"Not moved: generation {chosen.number} has no table of a node of this project.")
        rows = into(chosen, moved, manifest, say)
    lines = [f"Moved: {len(moved)} tables of generation {chosen.number}, {rows} rows. Views come with the next build."]
    if left := tables.left_out(moved, there):
        lines.append(f"Left, as no node of the project is called so now: {', '.join(left)}.")
    return lines, []


def _server(kept: Remote, ours: Project, chosen: Generation, say: Callable[[str], None]) -> _Into:
    """Return the way into the database server of the project's target, which is there."""
    target = profile.rendered(arguments.parse([]), process.environment(ours, kept.volume.root))
    if target.get("type") != postgres.ADAPTER:
        raise MoveRefused(
            f"Not moved: the target is of type {target.get('type')}, and `dbtpod move` knows the way into PostgreSQL "
            f"and into a DuckLake. The data is in {chosen.database}: `dbtpod export` writes it to a file for another "
            "loader."
        )
    if target.get("host"):
        reachable.wait(target["host"], int(target.get("port") or 5432), say)

    def copy(chosen: Generation, moved: Sequence[Table], _: Path, say: Callable[[str], None]) -> int:
        writers = kept.volume.writers(kept.writers)
        with (
            lock.hold_any(writers, lock.Holder.here(_NAME), LOCK_SECONDS, say),
            copying.opened(chosen.database) as source,
            postgres.opened(target) as server,
        ):
            return copying.copy(source, moved, server, say)

    return copy


def _lake(kept: DuckLake) -> _Into:
    """Return the way into a DuckLake: a build like those of runs, which readers see when all of it is there."""

    def copy(chosen: Generation, moved: Sequence[Table], manifest: Path, say: Callable[[str], None]) -> int:
        name = f"{_NAME} of generation {chosen.number}"
        with kept.write(Run(name, lock.Holder.here(name)), LOCK_SECONDS, _LOG) as built:
            built.check_out()
            try:
                with ducklake.opened(kept.lake, built.schema, chosen.database) as source:
                    rows = copying.copy(source, moved, ducklake.Target(source), say)
                built.publish(Certificate(name), [manifest])
            except BaseException:
                built.drop()
                raise
        return rows

    return copy


def _chosen(kept: Remote | DuckLake, number: int | None) -> Generation:
    found = [one for one in kept.generations.all() if not one.is_remote and number in (None, one.number)]
    if not found:
        what = "there is no generation" if number is None else f"generation {number} is none"
        raise MoveRefused(f"Not moved: {what} with a DuckDB file. Those there are: dbtpod generations list")
    kept.generations.check_whole(found[-1])
    return found[-1]


@contextmanager
def _listed(project: Project) -> Iterator[Path]:
    """Give the manifest of the project as its target is now."""
    with tempfile.TemporaryDirectory(prefix="dbtpod-move-") as folder:
        try:
            command = arguments.listing(["build"], tables.KINDS)
            listing.ids(command, project, Path(folder))
        except NotListed as error:
            raise MoveRefused(f"Not moved: {error}") from error
        yield Path(folder) / MANIFEST


def _content(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise MoveRefused(f"Not moved: {file} says which table is which node's, and cannot be read: {error}") from error
