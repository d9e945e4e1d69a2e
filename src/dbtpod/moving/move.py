"""What `dbtpod move` does: the tables of a generation into the database server that is the warehouse now."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbtpod import settings
from dbtpod.dbt import arguments, kinds, listing, process, profile, reachable
from dbtpod.dbt.listing import NotListed
from dbtpod.dbt.project import Project
from dbtpod.errors import MoveRefused
from dbtpod.generations import Found
from dbtpod.moving import copying, postgres, tables
from dbtpod.warehouse import database, lock, warehouse
from dbtpod.warehouse.facts import MANIFEST, Generation
from dbtpod.warehouse.remote import Remote

# A run that writes is worth waiting for.
LOCK_SECONDS = 3600.0


def move(number: int | None, say: Callable[[str], None]) -> Found:
    """Copy a generation, the newest with a DuckDB file where no number is given; the lines to print, and no others."""
    given = settings.from_environment()
    kept = warehouse.of(given)
    if not isinstance(kept, Remote):
        raise MoveRefused(
            "Not moved: the data is to go where runs write, and that is the DuckDB file on the volume. Set "
            f"warehouse.kind to {kinds.REMOTE} in the chart's values ({kinds.VARIABLE}={kinds.REMOTE}) first."
        )
    kept.volume.check(writes=True)
    chosen = _chosen(kept, number)
    ours = warehouse.project(given)
    environment = process.environment(ours, kept.volume.root)
    target = profile.rendered(arguments.parse([]), environment)
    if target.get("type") != postgres.ADAPTER:
        raise MoveRefused(
            f"Not moved: the target is of type {target.get('type')}, and `dbtpod move` knows the way into PostgreSQL. "
            f"The data is in {chosen.database}: `dbtpod export` writes it to a file for another loader."
        )
    if target.get("host"):
        reachable.wait(target["host"], int(target.get("port") or 5432), say)
    there = database.tables(chosen.database)
    moved = tables.of_nodes(_manifest(chosen.database.with_name(MANIFEST)), _listed(ours), there)
    if not moved:
        raise MoveRefused(f"Not moved: generation {chosen.number} has no table of a node of this project.")
    holder = lock.Holder.here("dbtpod move")
    with (
        lock.hold_any(kept.volume.writers(kept.writers), holder, LOCK_SECONDS, say),
        postgres.opened(target) as server,
    ):
        rows = copying.copy(chosen.database, moved, server, say)
    lines = [f"Moved: {len(moved)} tables of generation {chosen.number}, {rows} rows. Views come with the next build."]
    if left := tables.left_out(moved, there):
        lines.append(f"Left, as no node of the project is called so now: {', '.join(left)}.")
    return lines, []


def _chosen(kept: Remote, number: int | None) -> Generation:
    found = [one for one in kept.generations.all() if not one.is_remote and number in (None, one.number)]
    if not found:
        what = "there is no generation" if number is None else f"generation {number} is none"
        raise MoveRefused(f"Not moved: {what} with a DuckDB file. Those there are: dbtpod generations list")
    kept.generations.check_whole(found[-1])
    return found[-1]


def _listed(project: Project) -> Any:
    """Return the manifest of the project as its target is now."""
    with tempfile.TemporaryDirectory(prefix="dbtpod-move-") as folder:
        try:
            command = arguments.listing(["build"], tables.KINDS)
            listing.ids(command, project, Path(folder))
        except NotListed as error:
            raise MoveRefused(f"Not moved: {error}") from error
        return _manifest(Path(folder) / MANIFEST)


def _manifest(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise MoveRefused(f"Not moved: {file} says which table is which node's, and cannot be read: {error}") from error
