"""Where a project's data is kept: what a run that writes, and one that reads, begin with and end with.

    with warehouse.write(run, 600, log) as built:
        built.check_out()
        ...
        built.publish(certificate, artifacts)

`remote` has the one whose data is in a database server, `lake` that in a DuckLake. A new kind is one more class, and
one more line in `of`.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from dbtpod.dbt import kinds
from dbtpod.dbt.project import Project
from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import durable, health, housekeeping, lock, working_copy
from dbtpod.warehouse.built import Built, Run
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.lake.ducklake import DuckLake
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.published import Published
from dbtpod.warehouse.remote import Remote
from dbtpod.warehouse.volume import Log, Volume
from dbtpod.warehouse.working_copy import InPlaceFile, WorkingCopy


class Warehouse(Protocol):
    """What every kind can do."""

    @property
    def volume(self) -> Volume:
        """Where runs keep their records, whatever the kind."""

    @property
    def readable(self) -> Path:
        """The DuckDB file that readers open."""

    def builds(self) -> Sequence[Generation]:
        """Return the builds that are kept, the oldest first; none where they are not kept."""

    def write(self, run: Run, timeout: float, log: Log) -> AbstractContextManager[Built]:
        """Be the one writer until the block ends, which waits `timeout` seconds for the one before."""

    def read(self, log: Log) -> Path:
        """Return the file that readers open now; WarehouseUnusable where there is none, or none that is whole."""


@dataclass(frozen=True)
class DuckDBFile(Published):
    """A DuckDB file of which each build is a new generation: readers see the last one that is complete."""

    allow_network_filesystem: bool = False
    publishes: ClassVar[bool] = True
    # Why there is no working copy that could be kept aside or discarded; empty where there is one.
    no_copy: ClassVar[str] = ""

    @property
    def readable(self) -> Path:
        """The current generation, by the link that outlives it."""
        return self.volume.current / self.volume.database.name

    @contextmanager
    def write(self, run: Run, timeout: float, log: Log) -> Iterator[WorkingCopy]:
        """Be the one writer; WarehouseBusy after `timeout` seconds, WarehouseUnusable lists what stands against it."""
        with _alone(self.publisher, self.allow_network_filesystem, run, timeout, log, by_rename=self.publishes):
            yield WorkingCopy(self.publisher, run.id, log)

    def read(self, log: Log) -> Path:
        """Return the current generation's file, by its link; it needs no right to write.

        While `published/current` is lost, that is the newest whole generation, with a warning. WarehouseUnusable where
        there is none, and where what is published is damaged.
        """
        self.volume.check(writes=False)
        with self.volume.errors("a look at it"):
            found = self.generations.pointer()
            if found.number is not None:
                if problem := self.generations.unreadable(found.number):
                    raise WarehouseUnusable(problem)
                # A shell that has it open passes, and dbt tries again; damage does not.
                with suppress(WarehouseBusy):
                    self.generations.check_whole(self.generations.find(found.number))
                return self.readable
            if not found.problem or self.readable.is_file():
                return _existing(self.readable)
            chosen = self.generations.newest_whole()
        link = self.volume.current
        if chosen is None:
            raise WarehouseUnusable(
                f"{link} {found.problem}, and no generation is whole: {self.generations.bring_back()}"
            )
        log.warning(
            "%s %s. This run reads generation %d, the newest that is whole. The next run that builds puts the link "
            "right; to do it now: %s",
            *(link, found.problem, chosen.number, durable.REPAIR),
        )
        return chosen.database


@dataclass(frozen=True)
class InPlace:
    """A DuckDB file that runs build in, for files too large to copy: readers and writers wait for each other."""

    publisher: Publisher
    allow_network_filesystem: bool = False
    publishes: ClassVar[bool] = False
    no_copy: ClassVar[str] = (
        "DBTPOD_PUBLISH is false: this run would build in place, where readers see each commit. Leave it out, or set "
        "warehouse.publish to true."
    )

    @property
    def volume(self) -> Volume:
        """Where it lies."""
        return self.publisher.volume

    @property
    def readable(self) -> Path:
        """The file itself."""
        return self.volume.database

    def builds(self) -> Sequence[Generation]:
        """Return none: each commit takes the place of what was there."""
        return ()

    @contextmanager
    def write(self, run: Run, timeout: float, log: Log) -> Iterator[InPlaceFile]:
        """Be the one writer; WarehouseBusy after `timeout` seconds, WarehouseUnusable lists what stands against it."""
        with _alone(self.publisher, self.allow_network_filesystem, run, timeout, log, by_rename=self.publishes):
            yield InPlaceFile(self.publisher, run.id, log)

    def read(self, log: Log) -> Path:
        """Return the file; WarehouseUnusable before the first build."""
        self.volume.check(writes=False)
        return _existing(self.readable)


Kept = DuckDBFile | DuckLake | InPlace | Remote


def of(settings: Settings) -> Kept:
    """Return the warehouse that the settings describe."""
    if settings.kind == kinds.REMOTE:
        publisher = Publisher(Volume(settings.duckdb_path, is_remote=True), settings.keep_generations)
        return Remote(publisher, settings.writers, settings.allow_network_filesystem)
    if settings.kind == kinds.DUCKLAKE:
        publisher = Publisher(Volume(settings.duckdb_path, is_remote=True), settings.keep_generations)
        return DuckLake(publisher, settings.project_dir, settings.allow_network_filesystem)
    kind = DuckDBFile if settings.publish else InPlace
    publisher = Publisher(Volume(settings.duckdb_path), settings.keep_generations)
    return kind(publisher, settings.allow_network_filesystem)


def project(settings: Settings, reads: Path | None = None) -> Project:
    """Return what dbt is started with; `reads` is the file that a run which only reads opens."""
    kept = of(settings)
    return Project(
        settings.project_dir,
        kept.volume.database,
        reads or kept.readable,
        settings.memory_limit,
        only_reads=reads is not None,
        is_remote=settings.kind != kinds.FILE,
        is_lake=settings.kind == kinds.DUCKLAKE,
    )


@contextmanager
def _alone(
    publisher: Publisher, allow_network: bool, run: Run, timeout: float, log: Log, *, by_rename: bool
) -> Iterator[None]:
    volume = publisher.volume
    volume.check(writes=True)
    lock.check_filesystem(volume.root, allow_network)
    with lock.hold(volume.lock, run.holder, timeout, log.info):
        health.make_ready(publisher, log, by_rename=by_rename)
        # Before the working copy: what a crash left may take the room that it needs.
        housekeeping.clean(publisher, run.id)
        working_copy.wait_until_unused(volume.database, timeout, log)
        yield


def _existing(path: Path) -> Path:
    if path.is_file():
        return path
    raise WarehouseUnusable(f"There is no published warehouse at {path} yet: run one that builds first.")
