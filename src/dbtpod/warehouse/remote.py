"""A project whose data is in a database server: dbt writes there, and the volume keeps what belongs to the builds.

No DuckDB file is made, copied or locked. What a model commits, readers see at once; nothing here takes it back. A
generation holds dbt's artifacts of a build that ended well, with its history and facts.

So many runs may write at once as `writers` says: each holds a lock of its own for as long as it runs. The volume's
lock, which is that of the one writer elsewhere, is held only for what changes the volume: at a run's beginning and end.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dbtpod.warehouse import durable, facts, health, housekeeping, lock
from dbtpod.warehouse.built import Built, Look, Run
from dbtpod.warehouse.certificate import Certificate
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.lock import Holder
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.published import Published
from dbtpod.warehouse.volume import Log

# For the volume's lock, which others hold for seconds, or minutes where one brings a generation in.
LOCK_SECONDS = 600.0


@dataclass(frozen=True)
class Remote(Published):
    """A database server, beside the volume."""

    writers: int = 1
    allow_network_filesystem: bool = False
    publishes: ClassVar[bool] = True
    no_copy: ClassVar[str] = (
        "with warehouse.kind remote there is none: in a database server, readers see what each model commits. Leave it "
        "out."
    )

    @property
    def readable(self) -> Path:
        """What there is of the current build; its data is elsewhere."""
        return self.volume.current / facts.MANIFEST

    @contextmanager
    def write(self, run: Run, timeout: float, log: Log) -> Iterator["RemoteBuild"]:
        """Be one of the writers; WarehouseBusy after `timeout` seconds, WarehouseUnusable: what stands against it."""
        volume = self.volume
        volume.check(writes=True)
        lock.check_filesystem(volume.root, self.allow_network_filesystem)
        with lock.hold_any(volume.writers(self.writers), run.holder, timeout, log.info):
            built = RemoteBuild(self.publisher, run, self.writers, log)
            with built.alone():
                health.make_ready(self.publisher, log)
                housekeeping.clean(self.publisher, run.id)
            yield built

    def read(self, log: Log) -> Path:
        """Return the path that a file of the warehouse would have: dbt reads in the server."""
        self.volume.check(writes=False)
        return self.volume.database


class RemoteBuild(Built):
    """What one run builds in the database server."""

    publishes = True
    name = "what it has built in the database server"

    def __init__(self, publisher: Publisher, run: Run, writers: int, log: Log) -> None:
        super().__init__(publisher, run.id, log)
        self._holder: Holder = run.holder
        self._writers = writers

    @property
    def is_untouched(self) -> bool:
        """Say no: who writes to the server is not known."""
        return False

    @property
    def is_as_published(self) -> bool:
        """Say no: nothing brings back what was there."""
        return False

    def obstacle(self) -> str:
        """Say that another run has begun since; where several write at once, that is as it should be."""
        return "" if self._writers > 1 else super().obstacle()

    def bring_back(self, run_id: str) -> None:
        """Do nothing: what a run built is where it was."""

    def check_out(self) -> None:
        """Note that the run begins: what an earlier one built can be continued no more."""
        self._sign()

    def go_on(self) -> None:
        """Do nothing: what the run has built is where it was."""

    def check(self) -> None:
        """Return None: there is no file."""

    def look(self) -> Look:
        """Return nothing: what changes in the server is not seen from here."""
        return ()

    def publish(self, certificate: Certificate, artifacts: Sequence[Path]) -> Generation:
        """Make what belongs to the build the next generation: see Publisher.record."""
        with self.alone():
            return self._publisher.record(certificate, artifacts)

    def keep_aside(self, certificate: Certificate, artifacts: Sequence[Path]) -> None:
        """Do nothing: such a run is refused before it begins (`no_copy`)."""

    def drop(self) -> None:
        """Do nothing: what was built stays."""

    def alone(self) -> AbstractContextManager[None]:
        """Hold the volume's lock."""
        return lock.hold(self.volume.lock, self._holder, LOCK_SECONDS)

    def _obstacle_of(self, run_id: str) -> str:
        owner, _ = facts.owner(self.volume.owner)
        if owner and owner.run == run_id:
            return ""
        return f"another run, {owner.run}, has begun to write since" if owner else "it is not known who wrote last"

    def _make_own(self, earlier: str) -> None:
        self._sign()

    def _sign(self) -> None:
        with self.alone(), self.volume.errors("a note of the run that writes"):
            self.volume.work.mkdir(exist_ok=True)
            base = self._publisher.generations.pointer().number
            durable.write_json(self.volume.owner, {"run": self._run_id, "base": base})
