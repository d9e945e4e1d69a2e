"""What a writing run builds on, made from the last good build; for the holder of the writer's lock.

work/warehouse.duckdb   the file, always under this one name
work/owner.json         the flow run whose working copy it is, and the generation that it began from
failed/<flow run id>/   both of a run that did not end well, while another run builds: it may be continued

A DuckDB file without owner.json is not a working copy but somebody's database: one brought here, or one that was built
in place. It is never discarded: it becomes a generation first. One whose owner.json cannot be read is most likely a
working copy. It is set aside all the same, and the next one is made.
"""

import os
import shutil
import time
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from dbtpod.errors import BuildIncomplete, WarehouseBusy
from dbtpod.timeout import Timeout
from dbtpod.warehouse import database, durable, facts
from dbtpod.warehouse.built import Built, Look
from dbtpod.warehouse.certificate import Certificate, identity
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.volume import Log, Volume

# A shell or a dbt by hand is looked at as often while a run waits for it.
PAUSE_SECONDS = 0.5
# From here on people want to know how to be rid of it.
_LONG_COPY_SECONDS = 1.0


class BuiltFile(Built):
    """The DuckDB file that a run builds on: the same one from its first command to its publishing."""

    def __init__(self, publisher: Publisher, run_id: str, log: Log) -> None:
        super().__init__(publisher, run_id, log)
        self.path = self.volume.database
        self.name = f"the working copy {self.path}"
        # Before the first build there is none, until dbt makes it. A device has another number in another pod.
        self._identity: tuple[int, int] | None = None
        self._begun = self.look()
        self._is_fresh = False

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was written to it since this process has it."""
        return self._begun == self.look()

    @property
    def is_as_published(self) -> bool:
        """Whether it is what was checked out, so that checking out again brings it back."""
        return self.publishes and self._is_fresh and self.is_untouched

    def alone(self) -> AbstractContextManager[None]:
        """Do nothing: the run holds the volume's lock from its beginning to its end."""
        return nullcontext()

    def check_out(self) -> None:
        """Put a fresh copy of the current generation, or nothing before the first one, where the run builds.

        What another run left there goes.
        """
        with self.volume.errors("a new working copy"):
            self._check_out()
        self._identity = None
        self.go_on()
        self._is_fresh = True

    def go_on(self) -> None:
        """Build on what is there, which is the run's own."""
        self.check()
        self._begun = self.look()

    def check(self) -> tuple[int, int] | None:
        """Return which file it is; BuildIncomplete where it is not the one that it was."""
        found = identity(self.path) if self.path.exists() else None
        if self._identity is not None and found != self._identity:
            raise BuildIncomplete(
                f"{self.path} is another file than the one that this run built on: somebody replaced or removed it. "
                "Nothing is published; run it again, and let nothing but runs write there."
            )
        self._identity = found
        return found

    def look(self) -> Look:
        """Return what is another after each commit."""
        found = [path.stat() if path.exists() else None for path in (self.path, database.wal(self.path))]
        return tuple(each and (each.st_mtime_ns, each.st_size) for each in found)

    @abstractmethod
    def _keeps_brought(self) -> bool:
        """Take over a database that somebody brought; whether it is what the run builds on."""

    @abstractmethod
    def _keep_apart(self) -> None:
        """Keep what another run left that may be continued."""

    @abstractmethod
    def _sign(self, base: int | None) -> None:
        """Note whose the copy is that is about to get its name."""

    def _check_out(self) -> None:
        self.volume.work.mkdir(exist_ok=True)
        if self.path.exists():
            wait_until_unused(self.path, 0, self._log)
            if not os.path.lexists(self.volume.owner):
                database.check_database(self.path)
                if self._keeps_brought():
                    return
            if facts.owner(self.volume.owner)[1]:
                self._log.warning("%s", set_aside(self.volume))
            self._keep_apart()
        self._discard()
        generations = self._publisher.generations
        base = generations.current()
        if base is None:
            self._log.info(
                "Nothing was published on %s yet: this run begins with an empty warehouse.", self.volume.root
            )
        fresh = self._copy(generations.find(base)) if base is not None else None
        # Before the copy has its name, or a crash here would leave somebody's database.
        self._sign(base)
        if fresh:
            fresh.replace(self.path)
            durable.sync(self.volume.work)

    def _discard(self) -> None:
        """Remove the old working copy first, so that old and new never need room at the same time."""
        self.path.unlink(missing_ok=True)
        database.wal(self.path).unlink(missing_ok=True)
        # DuckDB's spill folder, left by a killed process.
        shutil.rmtree(self.path.with_name(self.path.name + ".tmp"), ignore_errors=True)
        self._unfinished.unlink(missing_ok=True)
        durable.sync(self.volume.work)

    @property
    def _unfinished(self) -> Path:
        return self.volume.work / ".checkout.tmp"

    def _copy(self, generation: Generation) -> Path:
        self._publisher.generations.check_whole(generation)
        work, source, target = self.volume.work, generation.database, self._unfinished
        size = source.stat().st_size
        purpose = f"the working copy of {source}"
        started = time.monotonic()
        try:
            with durable.volume_errors(work, size, purpose):
                if durable.clone(source, target):
                    self._log.info("Working copy: %s shared with %s, no bytes copied.", durable.size_text(size), source)
                    return target
                if durable.free(work) < size:
                    durable.remove(self.volume.failed)
                if durable.free(work) < size:
                    raise durable.volume_full(work, size, purpose)
                durable.copy(source, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        seconds = time.monotonic() - started
        self._log.info("Working copy: %s copied from %s in %.1f s.", durable.size_text(size), source, seconds)
        if seconds >= _LONG_COPY_SECONDS:
            self._log.info("On a filesystem that shares blocks, such as XFS, it would take no time and no room.")
        return target


class WorkingCopy(BuiltFile):
    """A copy of what is published, which becomes the next generation."""

    publishes = True

    def bring_back(self, run_id: str) -> None:
        """Put back what a run had built before others built here; nothing where that is gone or too old."""
        here, folder = self._owner(), self.volume.failed / run_id
        owner, _ = facts.owner(folder / self.volume.owner.name)
        kept = folder / self.path.name
        if (here and here.run == run_id) or owner is None or not kept.is_file():
            return
        if owner.base != self._publisher.generations.current():
            return
        with self.volume.errors("the working copy of a run that is continued"):
            self.volume.work.mkdir(exist_ok=True)
            wait_until_unused(self.path, 0, self._log)
            self._keep_apart()
            self._discard()
            self._sign(owner.base)
            kept.replace(self.path)
            durable.sync(self.volume.work)
            durable.remove(folder)

    def publish(self, certificate: Certificate, artifacts: Sequence[Path]) -> Generation:
        """Make it the next generation: see Publisher.publish."""
        return self._publisher.publish(certificate, artifacts)

    def keep_aside(self, certificate: Certificate, artifacts: Sequence[Path]) -> Generation:
        """Make it a preview: see Publisher.keep_aside."""
        return self._publisher.keep_aside(certificate, artifacts)

    def drop(self) -> None:
        """Remove it with its owner.json, if it is still this run's."""
        if owner_run(self.volume) != self._run_id:
            return
        try:
            # The file first: without owner.json it would be somebody's database.
            self._discard()
            self.volume.owner.unlink(missing_ok=True)
        except OSError as error:
            self._log.warning("%s stays until the next run that builds: %s", self.path, error)

    def _keeps_brought(self) -> bool:
        generation = self._publisher.import_database()
        self._log.info(
            "%s was not made by a run: it became generation %d, and this run builds on a copy of it.",
            *(self.path, generation.number),
        )
        return False

    def _obstacle_of(self, run_id: str) -> str:
        owner, current = self._owner(), self._publisher.generations.current()
        if owner and owner.run == run_id and owner.base == current:
            return ""
        if owner is None or owner.run != run_id:
            owner, _ = facts.owner(self.volume.failed / run_id / self.volume.owner.name)
        if owner is None or owner.base == current:
            return "its working copy is gone"
        return f"generation {current} was published since it began from {owner.base or 'nothing'}"

    def _make_own(self, earlier: str) -> None:
        self._sign(self._publisher.generations.current())

    def _owner(self) -> facts.Owner | None:
        """Return whose the copy is; None where there is no copy, or none that is known."""
        return facts.owner(self.volume.owner)[0] if self.path.is_file() else None

    def _keep_apart(self) -> None:
        owner, volume = self._owner(), self.volume
        if owner is None or owner.run == self._run_id or owner.base != self._publisher.generations.current():
            return
        if not (volume.runs / owner.run).is_dir() or durable.free(volume.root) < 2 * self.path.stat().st_size:
            return
        # It takes in what a killed process has left in the log beside it.
        database.checkpoint(self.path)
        volume.failed.mkdir(exist_ok=True)
        folder = volume.failed / owner.run
        fresh = folder.with_name(f".{folder.name}.tmp")
        for old in (fresh, folder):
            durable.remove(old)
        fresh.mkdir()
        durable.write_json(fresh / volume.owner.name, {"run": owner.run, "base": owner.base})
        self.path.replace(fresh / self.path.name)
        fresh.rename(folder)
        self._log.info("The run %s, which did not end well, can be continued: %s", owner.run, folder)

    def _sign(self, base: int | None) -> None:
        durable.write_json(self.volume.owner, {"run": self._run_id, "base": base})


class InPlaceFile(BuiltFile):
    """The one file that there is: runs build in it, and readers read it."""

    publishes = False

    def bring_back(self, run_id: str) -> None:
        """Do nothing: what runs built is where it was."""

    def publish(self, certificate: Certificate, artifacts: Sequence[Path]) -> None:
        """Do nothing: readers have seen each commit."""

    def keep_aside(self, certificate: Certificate, artifacts: Sequence[Path]) -> None:
        """Do nothing: readers have seen each commit."""

    def drop(self) -> None:
        """Do nothing: it is the one file that there is."""

    def _obstacle_of(self, run_id: str) -> str:
        return "it builds in place, where it is not known what others wrote meanwhile"

    def _make_own(self, earlier: str) -> None:
        """Do nothing: it never is."""

    def _keeps_brought(self) -> bool:
        return True

    def _keep_apart(self) -> None:
        """Do nothing: there is one file."""

    def _sign(self, base: int | None) -> None:
        self.volume.owner.unlink(missing_ok=True)


def owner_run(volume: Volume) -> str | None:
    """Return the flow run that the working copy belongs to, which may come back to resume it."""
    owner, _ = facts.owner(volume.owner)
    return owner.run if owner else None


def set_aside(volume: Volume) -> str:
    """Move a working copy away of which it is not known whose it is, with its owner.json; say where to."""
    paths = (volume.database, database.wal(volume.database), volume.owner)
    moved = [volume.set_aside(path) for path in paths if os.path.lexists(path)]
    return f"Moved to {', '.join(map(str, moved))}: remove it when you do not need it. The next run makes its own copy."


def wait_until_unused(path: Path, timeout: float, log: Log) -> None:
    """Wait for a person's shell or dbt to close the file where runs build; WarehouseBusy after `timeout` seconds.

    The writer's lock keeps runs apart; such a process knows nothing of it.
    """
    wait = Timeout(timeout)
    has_logged = False
    while path.exists() and (pid := database.writer(path)) is not None:
        if wait.is_over:
            raise WarehouseBusy(f"{_in_use_text(path, pid)} Close it, then run this again.")
        if not has_logged:
            log.info("%s Waiting %.0f s at most for it to close.", _in_use_text(path, pid), timeout)
        has_logged = True
        wait.pause(PAUSE_SECONDS)


def _in_use_text(path: Path, pid: int) -> str:
    by = f"process {pid}" if pid else "a process of another pod"
    return f"{path} is open for writing in DuckDB by {by}, such as a shell or a dbt started by hand."
