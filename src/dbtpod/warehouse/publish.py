"""Publishing a build as the next generation or keeping it aside, pointing readers to one, keeping only the last few.

published/000007/       warehouse.duckdb, manifest.json, run_results.json, sources.json, generation.json
published/current       link to "000007", replaced by one rename
published/.000008.tmp/  a generation in the making; after a crash the next run removes it
previews/000003/        likewise, where no link leads: see `previews`

Everything here is for the holder of the writer's lock. A reader that has a generation open keeps it whole when it is
removed: the file's blocks stay until the last process closes it.
"""

import importlib.metadata
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dbtpod.dbt import source_times
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import database, durable, facts, lock
from dbtpod.warehouse.builds import Builds, folder_name, size_fault
from dbtpod.warehouse.certificate import Certificate, identity
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.generations import Generations
from dbtpod.warehouse.making import Making
from dbtpod.warehouse.previews import Previews
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

    @property
    def previews(self) -> Previews:
        """The builds that were kept aside."""
        return Previews(self.volume)

    def publish(self, certificate: Certificate, artifacts: Sequence[Path]) -> Generation:
        """Make the certified file the next generation and point `current` to it; missing artifacts are left out.

        The working copy moves away: the next run makes its own. Whatever fails or dies on the way, readers see the old
        build or the new one, whole. VolumeFull leaves the working copy where it was. WarehouseUnusable where the
        working copy is not the certified file any more, or is another run's; it publishes nothing.
        """
        made = [*artifacts, *self._taken_over(artifacts)]
        generation = self._publish(certificate.run_id, made, self._check(certificate))
        self._disown()
        return generation

    def record(
        self,
        certificate: Certificate,
        artifacts: Sequence[Path],
        least: int = 1,
        before: Callable[[Generation], None] = lambda _: None,
    ) -> Generation:
        """Make the artifacts of a build whose data is elsewhere the next generation, with the number `least` or above.

        `before` is called right before readers see them; if it raises, they do not.

        Whatever fails or dies on the way, readers see those of the build before, or all of this one.
        """
        lock.check_held(self.volume.lock)
        found = [artifact for artifact in (*artifacts, *self._taken_over(artifacts)) if artifact.exists()]
        sizes = {artifact.name: artifact.stat().st_size for artifact in found}
        if facts.MANIFEST not in sizes:
            raise WarehouseUnusable(f"dbt left no {facts.MANIFEST} in {artifacts[0].parent}: nothing was published.")
        with self.volume.errors("publishing dbt's artifacts", sum(sizes.values())):
            making = Making(
                self.generations, self.describe(self.generations, certificate.run_id, sizes[facts.MANIFEST], least)
            )
            with self._undone(making):
                making.begin(found)
                link = self.link(making.generation.number)
                making.finish()
                before(making.generation)
                switch(link)
        with suppress(OSError):
            self.prune()
        return making.generation

    def keep_aside(self, certificate: Certificate, artifacts: Sequence[Path]) -> Generation:
        """Make the certified file a preview, as `publish` makes a generation, and leave what readers see as it is."""
        made = [*artifacts, *self._taken_over(artifacts)]
        with self._making(self.previews, certificate.run_id, made, self._check(certificate)) as making:
            self.previews.note(making.generation.number)
            making.move_in(self._check(certificate))
        self._disown()
        return making.generation

    def _check(self, certificate: Certificate) -> Callable[[Path], None]:
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

        return check

    def _disown(self) -> None:
        # A file that somebody brings to that place next is not a working copy. The build is kept, whatever fails here.
        with suppress(OSError):
            self.volume.owner.unlink(missing_ok=True)

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
        with self._making(self.generations, run, artifacts, check) as making:
            link = self.link(making.generation.number)
            making.move_in(check)
            switch(link)
        # It is published; what cannot be removed fails the next run, at its start.
        with suppress(OSError):
            self.prune()
        return making.generation

    @contextmanager
    def _making(
        self, builds: Builds, run: str, artifacts: Sequence[Path], check: Callable[[Path], None]
    ) -> Iterator[Making]:
        """Have all ready but the database, which moves in the block; what is not kept by its end is undone."""
        check(self.volume.database)
        database.checkpoint(self.volume.database)
        found = [artifact for artifact in artifacts if artifact.exists()]
        needed = sum(artifact.stat().st_size for artifact in found)
        with self.volume.errors("publishing dbt's artifacts", needed):
            making = Making(builds, self.describe(builds, run, self.volume.database.stat().st_size))
            with self._undone(making):
                making.begin(found)
                yield making

    @contextmanager
    def _undone(self, making: Making) -> Iterator[None]:
        """Have what is not kept by the block's end undone."""
        try:
            yield
        except BaseException:
            making.undo()
            unfinished_link(self.volume).unlink(missing_ok=True)
            raise

    def describe(self, builds: Builds, run: str, size: int, least: int = 1) -> Generation:
        """Return the facts of what a file of this size is about to become there."""
        builds.place.mkdir(exist_ok=True)
        number = max(builds.next_number(), least)
        return Generation(
            number,
            run,
            datetime.now(UTC),
            size,
            self.generations.pointer().number,
            importlib.metadata.version("dbtpod"),
            importlib.metadata.version("duckdb"),
            builds.database(number),
        )

    def link(self, number: int) -> Path:
        """Make the link to a generation, which takes room, for `switch`, which takes none."""
        fresh = unfinished_link(self.volume)
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
                remove(one.database.parent)

    def roll_back(self, number: int, timeout: float = 30) -> Generation:
        """Point `current` to a generation that is still there; the next build begins from it and gets a new number."""
        holder = lock.Holder.here(f"rollback to generation {number}")
        with lock.hold(self.volume.lock, holder, timeout):
            chosen = self.generations.find(number)
            self.generations.check_whole(chosen)
            with durable.volume_errors(self.volume.published, 0, "the link to a generation"):
                self.make_current(number)
        return chosen


def _check_file(path: Path, expected: tuple[int | None, int | None], run: str) -> None:
    found = identity(path) if path.is_file() else None
    if found != expected:
        state = "is another file than the one that was built" if found else "is gone"
        raise WarehouseUnusable(
            f"{path} {state} (run {run} built inode {expected[1]}, there is {found[1] if found else 'none'}): another "
            "process took its place, so nothing was published. Run this again."
        )


def unfinished_link(volume: Volume) -> Path:
    """Return the link in the making, which becomes `current`."""
    return volume.published / ".current.tmp"


def switch(link: Path) -> None:
    """Let `current` be this link."""
    link.replace(link.with_name("current"))
    durable.sync(link.parent)


def remove(folder: Path) -> None:
    """Remove a build, by one rename first: a crash in the middle must not leave half of one to read or roll back to."""
    dying = folder.with_name(f".{folder.name}.tmp")
    durable.remove(dying)
    folder.rename(dying)
    durable.remove(dying)
