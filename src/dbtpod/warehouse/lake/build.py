"""What one run builds on in a DuckLake: a catalog of its own, which becomes the next generation.

work/lake.json        the schema that the run's dbt attaches
published/<n>/lake.json   likewise of a generation, with the snapshot that readers attach
"""

import importlib.metadata
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from dbtpod.dbt import lake as of_profile
from dbtpod.errors import BuildIncomplete, ConnectionLost
from dbtpod.warehouse import durable
from dbtpod.warehouse.built import Built, Look, Run
from dbtpod.warehouse.certificate import Certificate
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.lake import copies, files
from dbtpod.warehouse.lake.catalog import PUBLISHED, Build, Catalog
from dbtpod.warehouse.lake.session import Session
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.volume import Log


class LakeBuild(Built):
    """The catalog of one run's build, from its first command to its publishing."""

    publishes = True
    name = "what it has built in the DuckLake"

    def __init__(self, publisher: Publisher, run: Run, session: Session, log: Log) -> None:
        super().__init__(publisher, run.id, log)
        self._session = session
        self._catalog = Catalog(session, log)
        self._build: Build | None = None
        self._begun: Look = ()
        self._is_fresh = False

    @property
    def is_untouched(self) -> bool:
        """Whether nothing was committed to it since this process has it."""
        return self._begun == self.look()

    @property
    def is_as_published(self) -> bool:
        """Whether it is what was checked out, so that checking out again brings it back."""
        return self._is_fresh and self.is_untouched

    @property
    def schema(self) -> str:
        """The schema of PostgreSQL that is its catalog."""
        assert self._build is not None  # noqa: S101
        return self._build.schema

    def bring_back(self, run_id: str) -> None:
        """Do nothing: what a run built is where it was, until it is removed."""

    def check_out(self) -> None:
        """Have a catalog that is a copy of the published one, or an empty one before the first build."""
        old = self._catalog.working(self._run_id)
        self._use(self._catalog.check_out(self._run_id))
        self._is_fresh = True
        if old:
            self._catalog.remove(old)

    def go_on(self) -> None:
        """Build on what is there, which is the run's own."""
        if found := self._catalog.working(self._run_id):
            self._use(found)

    def check(self) -> None:
        """BuildIncomplete where its catalog is gone."""
        if self._build is None or not copies.exists(self._session, self._build.schema):
            raise BuildIncomplete(
                f"The catalog of this build, {self._build and self._build.schema}, is gone: somebody dropped it. "
                "Nothing is published; run it again."
            )

    def look(self) -> Look:
        """Return the newest snapshot."""
        return ((copies.snapshot(self._session, self._build.schema), 0),) if self._build else ()

    def publish(self, certificate: Certificate, artifacts: Sequence[Path]) -> Generation:
        """Make it the next generation: the artifacts on the volume, then the mark in PostgreSQL, then the link."""
        build = self._build
        assert build is not None  # noqa: S101
        self.check()
        files.expire(self._session.lake, build.schema)
        with self.volume.errors("publishing dbt's artifacts"):
            self._note(build, copies.snapshot(self._session, build.schema))
        return self._publisher.record(
            certificate,
            [*artifacts, self._file],
            least=self._catalog.next_number(),
            before=lambda made: self._mark(build, made.number),
        )

    def keep_aside(self, certificate: Certificate, artifacts: Sequence[Path]) -> None:
        """Do nothing: such a run is refused before it begins (`no_copy`)."""

    def drop(self) -> None:
        """Remove it; what cannot be removed now, a later run removes."""
        if self._build:
            try:
                self._catalog.remove(self._build)
            except ConnectionLost as error:
                self._log.warning("%s stays until the next run that builds: %s", self._build.schema, error)

    def alone(self) -> AbstractContextManager[None]:
        """Do nothing: the run holds the volume's lock from its beginning to its end."""
        return nullcontext()

    @property
    def _file(self) -> Path:
        return self.volume.work / of_profile.FILE

    def _mark(self, build: Build, number: int) -> None:
        try:
            self._catalog.publish(build, number)
        except ConnectionLost:
            if not self._was_published(build):
                raise

    def _was_published(self, build: Build) -> bool:
        """Look, over a new connection, whether PostgreSQL had committed before the old one broke."""
        lost = self._session
        session = Session(lost.lake, f"dbtpod {importlib.metadata.version('dbtpod')}", self._log.info)
        try:
            found = next((one for one in Catalog(session, self._log).all() if one.id == build.id), None)
            return found is not None and found.state == PUBLISHED
        finally:
            session.close()

    def _obstacle_of(self, run_id: str) -> str:
        found, current = self._catalog.working(run_id), self._catalog.current()
        number = current.number if current else None
        if found is None:
            return "what it had built is gone"
        if found.base != number:
            return f"generation {number} was published since it began from {found.base or 'nothing'}"
        return "" if copies.exists(self._session, found.schema) else f"its catalog {found.schema} is gone"

    def _make_own(self, earlier: str) -> None:
        if found := self._catalog.working(earlier):
            self._catalog.take_over(found, self._run_id)

    def _use(self, build: Build) -> None:
        self._build = build
        with self.volume.errors("a note of the run that writes"):
            self.volume.work.mkdir(exist_ok=True)
            durable.write_json(self.volume.owner, {"run": self._run_id, "base": build.base})
            self._note(build)
        self._begun = self.look()

    def _note(self, build: Build, snapshot: int | None = None) -> None:
        durable.write_json(self._file, {"schema": build.schema, "snapshot": snapshot})
