"""The generations: publishing a build as the next one, pointing readers to one, and keeping only the last few.

published/000007/       warehouse.duckdb, manifest.json, run_results.json, generation.json
published/current       link to "000007", replaced by one rename
published/.000008.tmp/  a generation in the making; after a crash the next run removes it

Everything here but `generations` and `current` is for the holder of the writer's lock. A reader that has a generation
open keeps it whole when it is removed: the file's blocks stay until the last process closes it.
"""

import importlib.metadata
import json
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbtpod.errors import WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import database, durable, lock
from dbtpod.warehouse.certificate import Certificate, identity

FACTS = "generation.json"
# A reader follows the link first and opens the file next; in between, the generation that it found must not go.
READER_SECONDS = 60


@dataclass(frozen=True)
class Generation:
    """A published build."""

    number: int
    run: str
    at: datetime
    size: int  # bytes of the DuckDB file
    # The generation that the build began from; None for the first.
    base: int | None
    dbtpod: str
    duckdb: str
    database: Path


def publish(settings: Settings, certificate: Certificate, artifacts: Sequence[Path]) -> Generation:
    """Make the working copy the next generation and point `current` to it; artifacts that do not exist are left out.

    The working copy moves away: the next run makes its own. Whatever fails or dies on the way, readers see the old
    build or the new one, whole. VolumeFull leaves the working copy where it was, WarehouseUnusable what is there in its
    place.
    """
    if identity(settings.duckdb_path) != (certificate.device, certificate.inode):
        raise WarehouseUnusable(
            f"{settings.duckdb_path} is another file than the one that run {certificate.run_id} built: not published."
        )
    database.checkpoint(settings.duckdb_path)
    found = [artifact for artifact in artifacts if artifact.exists()]
    needed = sum(artifact.stat().st_size for artifact in found)
    generation = _describe(settings, certificate.run_id)
    unfinished = settings.published_dir / f".{generation.database.parent.name}.tmp"
    with durable.room(settings.volume, needed, "publishing dbt's artifacts"):
        try:
            # All that takes room comes before the database moves.
            _write_beside(unfinished, generation, found)
            link = _link(settings, generation.number)
            _move_in(settings, unfinished, generation)
            _switch(link)
        except BaseException:
            _undo(settings, unfinished)
            raise
    prune(settings)
    return generation


def _describe(settings: Settings, run_id: str) -> Generation:
    settings.published_dir.mkdir(exist_ok=True)
    # Prune leaves the highest number in place, so no number comes back for another build.
    number = max(_numbers(settings), default=0) + 1
    return Generation(
        number,
        run_id,
        datetime.now(UTC),
        settings.duckdb_path.stat().st_size,
        current(settings),
        importlib.metadata.version("dbtpod"),
        importlib.metadata.version("duckdb"),
        _folder(settings, number) / settings.duckdb_path.name,
    )


def _write_beside(unfinished: Path, generation: Generation, artifacts: Sequence[Path]) -> None:
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    for artifact in artifacts:
        target = unfinished / artifact.name
        shutil.copyfile(artifact, target)
        durable.sync(target)
    facts = {name: getattr(generation, name) for name in ("number", "run", "size", "base", "dbtpod", "duckdb")}
    durable.write_json(unfinished / FACTS, facts | {"at": generation.at.isoformat()})


def _move_in(settings: Settings, unfinished: Path, generation: Generation) -> None:
    durable.sync(settings.duckdb_path)
    settings.duckdb_path.replace(unfinished / settings.duckdb_path.name)
    durable.sync(settings.duckdb_path.parent)
    durable.sync(unfinished)
    unfinished.rename(generation.database.parent)
    durable.sync(settings.published_dir)


def _link(settings: Settings, number: int) -> Path:
    fresh = settings.published_dir / ".current.tmp"
    fresh.unlink(missing_ok=True)
    # Relative, so that the link holds wherever a reader mounts the volume.
    fresh.symlink_to(_folder(settings, number).name)
    return fresh


def _switch(link: Path) -> None:
    link.replace(link.with_name("current"))
    durable.sync(link.parent)


def _undo(settings: Settings, unfinished: Path) -> None:
    moved = unfinished / settings.duckdb_path.name
    if moved.exists():
        moved.replace(settings.duckdb_path)
    shutil.rmtree(unfinished, ignore_errors=True)
    (settings.published_dir / ".current.tmp").unlink(missing_ok=True)


def prune(settings: Settings) -> None:
    """Remove all but `keep_generations`: the current one, then the one that it was built from, then the newest.

    Those newer than the current one, which somebody rolled back, stay until the next build is published.
    """
    kept = current(settings)
    if kept is None:
        return
    base = next((one.base for one in generations(settings) if one.number == kept), None)
    older = sorted(filter(kept.__gt__, _numbers(settings)), key=lambda number: (number == base, number))
    age = time.time() - (settings.published_dir / "current").lstat().st_mtime
    for number in older[: max(0, len(older) - settings.keep_generations + 1)]:
        if number != base or age > READER_SECONDS:
            _remove(_folder(settings, number))


def _remove(folder: Path) -> None:
    # By one rename first: a crash in the middle must not leave half a generation to roll back to.
    dying = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(dying, ignore_errors=True)
    folder.rename(dying)
    shutil.rmtree(dying)


def generations(settings: Settings) -> list[Generation]:
    """Return what is published, the oldest first; safe without the lock."""
    found = []
    for number in _numbers(settings):
        folder = _folder(settings, number)
        try:
            facts = json.loads((folder / FACTS).read_text())
        except FileNotFoundError:
            continue  # pruned since we listed it
        facts["at"] = datetime.fromisoformat(facts["at"])
        found.append(Generation(**facts, database=folder / settings.duckdb_path.name))
    return found


def current(settings: Settings) -> int | None:
    """Return the number of the generation that readers see; None before the first."""
    link = settings.published_dir / "current"
    return int(link.readlink().name) if link.is_symlink() else None


def find(settings: Settings, number: int) -> Generation:
    """Return one generation; WarehouseUnusable lists those there are."""
    there = {one.number: one for one in generations(settings)}
    if number not in there:
        names = ", ".join(map(str, there)) or "none"
        raise WarehouseUnusable(f"There is no generation {number} in {settings.published_dir}; there are: {names}.")
    return there[number]


def roll_back(settings: Settings, number: int, timeout: float = 30) -> Generation:
    """Point `current` to a generation that is still there; what is built next begins from it and gets a new number."""
    holder = lock.Holder(f"rollback to generation {number}", socket.gethostname(), datetime.now(UTC))
    with lock.hold(settings.lock_path, holder, timeout):
        chosen = find(settings, number)
        database.check_database(chosen.database)
        with durable.room(settings.published_dir, 0, "the link to a generation"):
            _switch(_link(settings, number))
    return chosen


def _numbers(settings: Settings) -> list[int]:
    folder = settings.published_dir
    return sorted(int(one.name) for one in folder.iterdir() if one.name.isdecimal()) if folder.is_dir() else []


def _folder(settings: Settings, number: int) -> Path:
    return settings.published_dir / f"{number:06d}"
