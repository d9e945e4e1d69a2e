"""The kind whose data is in a DuckLake: what a run that writes, and one that reads, begin with and end with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dbtpod.dbt import lake as of_profile
from dbtpod.dbt import project, yaml_file
from dbtpod.dbt.lake import Lake
from dbtpod.environment import environment
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import health, housekeeping, lock, publish
from dbtpod.warehouse.built import Run
from dbtpod.warehouse.lake.build import LakeBuild
from dbtpod.warehouse.lake.catalog import Build, Catalog
from dbtpod.warehouse.lake.session import Session
from dbtpod.warehouse.lock import Holder
from dbtpod.warehouse.published import Published
from dbtpod.warehouse.volume import Log


@dataclass(frozen=True)
class DuckLake(Published):
    """A DuckLake, beside the volume: PostgreSQL says what is published, and the volume follows it."""

    # Where the profile is that says where it is.
    project_dir: Path
    allow_network_filesystem: bool = False
    publishes: ClassVar[bool] = True
    no_copy: ClassVar[str] = (
        "with warehouse.kind ducklake a build is published or dropped, and cannot be kept aside yet. Leave it out."
    )

    @property
    def readable(self) -> Path:
        """Where to read the current build: its schema and its snapshot."""
        return self.volume.current / of_profile.FILE

    @property
    def lake(self) -> Lake:
        """Where it is, as the profile of the default target says; SettingsError where a variable has no value."""
        return of_profile.find(self.project_dir, environment())

    @contextmanager
    def write(self, run: Run, timeout: float, log: Log) -> Iterator[LakeBuild]:
        """Be the one writer; WarehouseBusy after `timeout` seconds, WarehouseUnusable: what stands against it.

        SettingsError and ConnectionLost where PostgreSQL or the profile is what stands against it.
        """
        with self._alone(run.holder, timeout, log) as (session, catalog):
            health.make_ready(self.publisher, log)
            self._follow(catalog, log.warning)
            housekeeping.clean(self.publisher, run.id)
            catalog.expire(self.publisher.keep, run.id)
            yield LakeBuild(self.publisher, run, session, log)

    def read(self, log: Log) -> Path:
        """Return the file that says where the current build is; WarehouseUnusable where nothing is published yet."""
        self.volume.check(writes=False)
        if self.readable.is_file():
            # The link may move while dbt runs: what it leads to now is whole.
            return self.readable.resolve()
        raise WarehouseUnusable(f"Nothing is published in the {self.lake} yet: run a flow first that builds.")

    def roll_back(self, number: int, log: Log, timeout: float = 30) -> Build:
        """Have readers see a generation that is still there; the next build begins from it and gets a new number."""
        with self._alone(Holder.here(f"rollback to generation {number}"), timeout, log) as (_, catalog):
            # Of one without records here, the volume could not show that it is current.
            self.generations.find(number)
            chosen = catalog.make_current(number)
            self._follow(catalog, log.info)
        return chosen

    def problems(self, log: Log) -> list[str]:
        """Return what is wrong with the published builds in PostgreSQL and their data files; it changes nothing."""
        session = Session(self.lake, "dbtpod generations check", log.info)
        try:
            return Catalog(session, log).problems()
        finally:
            session.close()

    @contextmanager
    def _alone(self, holder: Holder, timeout: float, log: Log) -> Iterator[tuple[Session, Catalog]]:
        volume, found = self.volume, self.lake
        volume.check(writes=True)
        lock.check_filesystem(volume.root, self.allow_network_filesystem)
        with lock.hold(volume.lock, holder, timeout, log.info):
            session = Session(found, f"dbtpod run {holder.run} (pod {holder.pod})", log.info)
            try:
                session.lock(timeout, log.info)
                catalog = Catalog(session, log)
                catalog.begin(*self._owner())
                yield session, catalog
            finally:
                session.close()

    def _owner(self) -> tuple[str, str]:
        """Return the project and the target that the records belong to."""
        content = yaml_file.load(self.project_dir / "dbt_project.yml")
        known = project.facts(self.project_dir)
        name = content.get("name") if isinstance(content, dict) else None
        return str(name), str(known and known.default(environment()))

    def _follow(self, catalog: Catalog, say: Callable[..., None]) -> None:
        """Have the volume show what PostgreSQL says is published: a run may have died between the two."""
        generations, current = self.generations, catalog.current()
        known = {one.number for one in catalog.published()}
        with self.volume.errors("a look at it"):
            for number, folder in generations.entries().items():
                if number not in known and (folder / of_profile.FILE).is_file() and not generations.is_current(number):
                    publish.remove(folder)
            if current is None or current.number is None or generations.pointer().number == current.number:
                return
            if generations.read(current.number):
                self.publisher.make_current(current.number)
                say("%s leads to generation %d now, which is the current one.", self.volume.current, current.number)
            else:
                say(
                    "Generation %d is current in the %s, and has no records on %s, where runs and the reader see the "
                    "one before until the next build.",
                    *(current.number, catalog.lake, self.volume.root),
                )
