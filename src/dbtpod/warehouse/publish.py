"""Publishing a build as the next generation, pointing readers to one, and keeping only the last few.

published/000007/       warehouse.duckdb, manifest.json, run_results.json, generation.json
published/current       link to "000007", replaced by one rename
published/.000008.tmp/  a generation in the making; after a crash the next run removes it

Everything here is for the holder of the writer's lock. A reader that has a generation open keeps it whole when it is
removed: the file's blocks stay until the last process closes it.
"""

import importlib.metadata
import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbtpod.errors import WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import database, durable, facts, lock, published
from dbtpod.warehouse.certificate import Certificate, identity
from dbtpod.warehouse.facts import Generation

# A reader follows the link first and opens the file next; in between, the generation that it found must not go.
READER_SECONDS = 60


def publish(settings: Settings, certificate: Certificate, artifacts: Sequence[Path]) -> Generation:
    """Make the certified file the next generation and point `current` to it; artifacts that do not exist are left out.

    The working copy moves away: the next run makes its own. Whatever fails or dies on the way, readers see the old
    build or the new one, whole. VolumeFull leaves the working copy where it was. WarehouseUnusable where the working
    copy is not the certified file any more, or is another run's; it publishes nothing.
    """

    def check(path: Path) -> None:
        lock.check_held(settings.lock_path)
        _check_file(path, (certificate.device, certificate.inode), certificate.run_id)
        owner, damage = facts.owner(settings.owner_path)
        if owner is None or owner.run != certificate.run_id:
            now = f"belongs to run {owner.run}" if owner else f"has no owner that can be read ({damage or 'no file'})"
            raise WarehouseUnusable(
                f"The working copy of run {certificate.run_id} {now}, as {settings.owner_path} says, so this build was "
                "not published. Run it again."
            )

    generation = _publish(settings, certificate.run_id, artifacts, check)
    # A file that somebody brings to that place next is not a working copy. It is published, whatever fails here.
    with suppress(OSError):
        settings.owner_path.unlink(missing_ok=True)
    return generation


def adopt(settings: Settings) -> Generation:
    """Make a generation of the database that somebody brought: it has no owner.json, and no run built it."""
    looked_at = identity(settings.duckdb_path)

    def check(path: Path) -> None:
        lock.check_held(settings.lock_path)
        _check_file(path, looked_at, "adopted")
        if os.path.lexists(settings.owner_path):
            raise WarehouseUnusable(f"{settings.owner_path} appeared meanwhile: {path} is now a run's. Run this again.")

    return _publish(settings, "adopted", [], check)


def _check_file(path: Path, expected: tuple[int, int], run: str) -> None:
    found = identity(path) if path.is_file() else None
    if found != expected:
        state = "is another file than the one that was built" if found else "is gone"
        raise WarehouseUnusable(
            f"{path} {state} (run {run} built inode {expected[1]}, there is {found[1] if found else 'none'}): another "
            "process took its place, so nothing was published. Run this again."
        )


@dataclass(frozen=True)
class _Making:
    """A generation on its way from the working copy to its folder."""

    settings: Settings
    generation: Generation

    @property
    def unfinished(self) -> Path:
        return self.settings.published_dir / f".{self.generation.database.parent.name}.tmp"

    def move_in(self, check: Callable[[Path], None]) -> None:
        path = self.settings.duckdb_path
        durable.sync(path)
        moved = self.unfinished / path.name
        path.replace(moved)
        # Only now can no other process put its file under this name.
        check(moved)
        durable.sync(path.parent)
        durable.sync(self.unfinished)
        self.unfinished.rename(self.generation.database.parent)
        durable.sync(self.settings.published_dir)

    def undo(self) -> None:
        folder = self.generation.database.parent
        if published.pointer(self.settings).number == self.generation.number:
            return  # readers see it already
        if folder.exists():
            folder.rename(self.unfinished)
        moved = self.unfinished / self.settings.duckdb_path.name
        if moved.exists():
            if self.settings.duckdb_path.exists():
                durable.set_aside(self.settings, moved)
            else:
                moved.replace(self.settings.duckdb_path)
        shutil.rmtree(self.unfinished, ignore_errors=True)
        (self.settings.published_dir / ".current.tmp").unlink(missing_ok=True)


def _publish(settings: Settings, run: str, artifacts: Sequence[Path], check: Callable[[Path], None]) -> Generation:
    check(settings.duckdb_path)
    database.checkpoint(settings.duckdb_path)
    found = [artifact for artifact in artifacts if artifact.exists()]
    needed = sum(artifact.stat().st_size for artifact in found)
    with durable.volume_errors(settings.volume, needed, "publishing dbt's artifacts"):
        making = _Making(settings, _describe(settings, run))
        try:
            # All that takes room comes before the database moves.
            _write_beside(making.unfinished, making.generation, found)
            link = _link(settings, making.generation.number)
            making.move_in(check)
            _switch(link)
        except BaseException:
            making.undo()
            raise
    # It is published; what cannot be removed fails the next run, at its start.
    with suppress(OSError):
        prune(settings)
    return making.generation


def _describe(settings: Settings, run: str) -> Generation:
    settings.published_dir.mkdir(exist_ok=True)
    number = next_number(settings)
    return Generation(
        number,
        run,
        datetime.now(UTC),
        settings.duckdb_path.stat().st_size,
        published.pointer(settings).number,
        importlib.metadata.version("dbtpod"),
        importlib.metadata.version("duckdb"),
        settings.published_dir / published.folder_name(number) / settings.duckdb_path.name,
    )


def next_number(settings: Settings) -> int:
    """Return a number that no generation had: prune leaves the highest in place, and one set aside keeps its own."""
    aside = settings.set_aside_dir
    parts = (one.name.split("-") for one in aside.iterdir()) if aside.is_dir() else ()
    gone = (number for names in parts for name in names if (number := published.number_of(name)) is not None)
    return max([*published.entries(settings), *gone], default=0) + 1


def _write_beside(unfinished: Path, generation: Generation, artifacts: Sequence[Path]) -> None:
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    for artifact in artifacts:
        target = unfinished / artifact.name
        shutil.copyfile(artifact, target)
        durable.sync(target)
    durable.write_json(unfinished / published.FACTS, facts.as_json(generation))


def _link(settings: Settings, number: int) -> Path:
    fresh = settings.published_dir / ".current.tmp"
    fresh.unlink(missing_ok=True)
    # Relative, so that the link holds wherever a reader mounts the volume.
    fresh.symlink_to(published.folder_name(number))
    return fresh


def _switch(link: Path) -> None:
    link.replace(link.with_name("current"))
    durable.sync(link.parent)


def make_current(settings: Settings, number: int) -> None:
    """Point `current` to a generation, whatever the link was before; a folder in its place must have gone."""
    _switch(_link(settings, number))


def prune(settings: Settings) -> None:
    """Remove all but `keep_generations`: the current one, then the one that it was built from, then the newest.

    Those newer than the current one, which somebody rolled back, stay until the next build is published. Nothing goes
    while it is not certain which one is current, and what is damaged neither counts nor goes.
    """
    kept = published.pointer(settings).number
    if kept is None:
        return
    whole = [one for one in published.generations(settings) if not published.size_fault(one)]
    base = next((one.base for one in whole if one.number == kept), None)
    older = sorted((one for one in whole if one.number < kept), key=lambda one: (one.number == base, one.number))
    age = time.time() - (settings.published_dir / "current").lstat().st_mtime
    for one in older[: max(0, len(older) - settings.keep_generations + 1)]:
        if one.number != base or age > READER_SECONDS:
            _remove(one.database.parent)


def _remove(folder: Path) -> None:
    # By one rename first: a crash in the middle must not leave half a generation to roll back to.
    dying = folder.with_name(f".{folder.name}.tmp")
    durable.remove(dying)
    folder.rename(dying)
    durable.remove(dying)


def roll_back(settings: Settings, number: int, timeout: float = 30) -> Generation:
    """Point `current` to a generation that is still there; what is built next begins from it and gets a new number."""
    holder = lock.Holder(f"rollback to generation {number}", socket.gethostname(), datetime.now(UTC))
    with lock.hold(settings.lock_path, holder, timeout):
        chosen = published.find(settings, number)
        published.check_whole(settings, chosen)
        with durable.volume_errors(settings.published_dir, 0, "the link to a generation"):
            make_current(settings, number)
    return chosen
