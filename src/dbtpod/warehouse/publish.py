"""Publishing a build as the next generation, pointing readers to one, and keeping only the last few.

published/000007/       warehouse.duckdb, manifest.json, run_results.json, sources.json, generation.json
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

from dbtpod.dbt import source_times
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import database, durable, facts, lock
from dbtpod.warehouse.certificate import Certificate, identity
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.generations import FACTS, Generations, folder_name, number_of, size_fault
from dbtpod.warehouse.volume import Volume

# A reader follows the link first and opens the file next; in between, the generation that it found must not go.
READER_SECONDS = 60


@dataclass(frozen=True)
class Publisher:
    """Makes generations of working copies, and keeps the last few."""

    volume: Volume
    # How many generations are kept, the current one included.
    keep: int

    @property
    def generations(self) -> Generations:
        """Those that there are."""
        return Generations(self.volume)

    def publish(self, certificate: Certificate, artifacts: Sequence[Path]) -> Generation:
        """Make the certified file the next generation and point `current` to it; missing artifacts are left out.

        The working copy moves away: the next run makes its own. Whatever fails or dies on the way, readers see the old
        build or the new one, whole. VolumeFull leaves the working copy where it was. WarehouseUnusable where the
        working copy is not the certified file any more, or is another run's; it publishes nothing.
        """

        def check(path: Path) -> None:
            lock.check_held(self.volume.lock)
            _check_file(path, (certificate.device, certificate.inode), certificate.run_id)
            owner, damage = facts.owner(self.volume.owner)
            if owner is None or owner.run != certificate.run_id:
                now = (
                    f"belongs to run {owner.run}" if owner else f"has no owner that can be read ({damage or 'no file'})"
                )
                raise WarehouseUnusable(
                    f"The working copy of run {certificate.run_id} {now}, as {self.volume.owner} says, so this build "
                    "was not published. Run it again."
                )

        generation = self._publish(certificate.run_id, [*artifacts, *self._taken_over(artifacts)], check)
        # A file that somebody brings to that place next is not a working copy. It is published, whatever fails here.
        with suppress(OSError):
            self.volume.owner.unlink(missing_ok=True)
        return generation

    def _taken_over(self, artifacts: Sequence[Path]) -> list[Path]:
        """Return the base's record of its sources, for a build that has none: what it has is as new at least."""
        base = self.generations.pointer().number
        if base is None or any(artifact.name == source_times.FILE for artifact in artifacts):
            return []
        return [self.generations.folder(base) / source_times.FILE]

    def import_database(self) -> Generation:
        """Make a generation of the database that somebody brought: it has no owner.json, and no run built it."""
        looked_at = identity(self.volume.database)

        def check(path: Path) -> None:
            lock.check_held(self.volume.lock)
            _check_file(path, looked_at, "imported")
            if os.path.lexists(self.volume.owner):
                raise WarehouseUnusable(
                    f"{self.volume.owner} appeared meanwhile: {path} is now a run's. Run this again."
                )

        return self._publish("imported", [], check)

    def _publish(self, run: str, artifacts: Sequence[Path], check: Callable[[Path], None]) -> Generation:
        check(self.volume.database)
        database.checkpoint(self.volume.database)
        found = [artifact for artifact in artifacts if artifact.exists()]
        needed = sum(artifact.stat().st_size for artifact in found)
        with self.volume.errors("publishing dbt's artifacts", needed):
            making = _Making(self.generations, self.describe(run, self.volume.database.stat().st_size))
            try:
                # All that takes room comes before the database moves.
                _write_beside(making.unfinished, making.generation, found)
                link = self.link(making.generation.number)
                making.move_in(check)
                switch(link)
            except BaseException:
                making.undo()
                raise
        # It is published; what cannot be removed fails the next run, at its start.
        with suppress(OSError):
            self.prune()
        return making.generation

    def describe(self, run: str, size: int) -> Generation:
        """Return the facts of the generation that a file of this size is about to become."""
        self.volume.published.mkdir(exist_ok=True)
        number = self.next_number()
        return Generation(
            number,
            run,
            datetime.now(UTC),
            size,
            self.generations.pointer().number,
            importlib.metadata.version("dbtpod"),
            importlib.metadata.version("duckdb"),
            self.generations.database(number),
        )

    def next_number(self) -> int:
        """Return a number that no generation had: prune leaves the highest in place, one set aside keeps its own."""
        aside = self.volume.aside
        parts = (one.name.split("-") for one in aside.iterdir()) if aside.is_dir() else ()
        gone = (number for names in parts for name in names if (number := number_of(name)) is not None)
        return max([*self.generations.entries(), *gone], default=0) + 1

    def link(self, number: int) -> Path:
        """Make the link to a generation, which takes room, for `switch`, which takes none."""
        fresh = _unfinished_link(self.volume)
        fresh.unlink(missing_ok=True)
        # Relative, so that the link holds wherever a reader mounts the volume.
        fresh.symlink_to(folder_name(number))
        return fresh

    def make_current(self, number: int) -> None:
        """Point `current` to a generation, whatever the link was before; a folder in its place must have gone."""
        switch(self.link(number))

    def prune(self) -> None:
        """Remove all but `keep`: the current one, then the one that it was built from, then the newest.

        Those newer than the current one, which somebody rolled back, stay until the next build is published. Nothing
        goes while it is not certain which one is current, and what is damaged neither counts nor goes.
        """
        kept = self.generations.pointer().number
        if kept is None:
            return
        whole = [one for one in self.generations.all() if not size_fault(one)]
        base = next((one.base for one in whole if one.number == kept), None)
        older = sorted((one for one in whole if one.number < kept), key=lambda one: (one.number == base, one.number))
        age = time.time() - self.volume.current.lstat().st_mtime
        for one in older[: max(0, len(older) - self.keep + 1)]:
            if one.number != base or age > READER_SECONDS:
                _remove(one.database.parent)

    def roll_back(self, number: int, timeout: float = 30) -> Generation:
        """Point `current` to a generation that is still there; the next build begins from it and gets a new number."""
        holder = lock.Holder(f"rollback to generation {number}", socket.gethostname(), datetime.now(UTC))
        with lock.hold(self.volume.lock, holder, timeout):
            chosen = self.generations.find(number)
            self.generations.check_whole(chosen)
            with durable.volume_errors(self.volume.published, 0, "the link to a generation"):
                self.make_current(number)
        return chosen


@dataclass(frozen=True)
class _Making:
    """A generation on its way from the working copy to its folder."""

    generations: Generations
    generation: Generation

    @property
    def volume(self) -> Volume:
        return self.generations.volume

    @property
    def unfinished(self) -> Path:
        return self.volume.published / f".{self.generation.database.parent.name}.tmp"

    def move_in(self, check: Callable[[Path], None]) -> None:
        path = self.volume.database
        durable.sync(path)
        moved = self.unfinished / path.name
        path.replace(moved)
        # Only now can no other process put its file under this name.
        check(moved)
        durable.sync(path.parent)
        durable.sync(self.unfinished)
        self.unfinished.rename(self.generation.database.parent)
        durable.sync(self.volume.published)

    def undo(self) -> None:
        folder = self.generation.database.parent
        if self.generations.pointer().number == self.generation.number:
            return  # readers see it already
        if folder.exists():
            folder.rename(self.unfinished)
        moved = self.unfinished / self.volume.database.name
        if moved.exists():
            if self.volume.database.exists():
                self.volume.set_aside(moved)
            else:
                moved.replace(self.volume.database)
        shutil.rmtree(self.unfinished, ignore_errors=True)
        _unfinished_link(self.volume).unlink(missing_ok=True)


def _check_file(path: Path, expected: tuple[int, int], run: str) -> None:
    found = identity(path) if path.is_file() else None
    if found != expected:
        state = "is another file than the one that was built" if found else "is gone"
        raise WarehouseUnusable(
            f"{path} {state} (run {run} built inode {expected[1]}, there is {found[1] if found else 'none'}): another "
            "process took its place, so nothing was published. Run this again."
        )


def _write_beside(unfinished: Path, generation: Generation, artifacts: Sequence[Path]) -> None:
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    for artifact in artifacts:
        target = unfinished / artifact.name
        shutil.copyfile(artifact, target)
        durable.sync(target)
    durable.write_json(unfinished / FACTS, facts.as_json(generation))


def _unfinished_link(volume: Volume) -> Path:
    return volume.published / ".current.tmp"


def switch(link: Path) -> None:
    """Let `current` be this link."""
    link.replace(link.with_name("current"))
    durable.sync(link.parent)


def _remove(folder: Path) -> None:
    # By one rename first: a crash in the middle must not leave half a generation to roll back to.
    dying = folder.with_name(f".{folder.name}.tmp")
    durable.remove(dying)
    folder.rename(dying)
    durable.remove(dying)
