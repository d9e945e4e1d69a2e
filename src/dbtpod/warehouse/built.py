"""What a run builds on, as the run sees it: a DuckDB file (`working_copy`), or a database server (`remote`)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dbtpod.warehouse.certificate import Certificate
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.lock import Holder
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.volume import Log, Volume

# What is another after each commit.
Look = tuple[tuple[int, int] | None, ...]


@dataclass(frozen=True)
class Run:
    """The flow run that writes, as others see it while they wait."""

    id: str
    holder: Holder


class Built(ABC):
    """Where a run builds, from its first command to its publishing."""

    # Whether what is built becomes a generation.
    publishes: ClassVar[bool]
    # What it is, in the log of a run that resumes with it.
    name: str

    def __init__(self, publisher: Publisher, run_id: str, log: Log) -> None:
        self._publisher = publisher
        self._run_id = run_id
        self._log = log
        self.volume: Volume = publisher.volume

    @property
    @abstractmethod
    def is_untouched(self) -> bool:
        """Whether nothing was written to it since this process has it."""

    @property
    @abstractmethod
    def is_as_published(self) -> bool:
        """Whether it is what was checked out, so that checking out again brings it back."""

    def obstacle(self) -> str:
        """Say why this run, started again, cannot resume with what is there; empty where it can."""
        return self._obstacle_of(self._run_id)

    def take_over(self, earlier: str) -> str:
        """Make what an earlier run had built this run's own; why that cannot be, or empty."""
        self.bring_back(earlier)
        # Where it was done, and the pod died right after.
        if not self._obstacle_of(self._run_id):
            return ""
        if obstacle := self._obstacle_of(earlier):
            return obstacle
        self._make_own(earlier)
        return ""

    @abstractmethod
    def bring_back(self, run_id: str) -> None:
        """Put back what a run had built before others built here; nothing where that is gone or too old."""

    @abstractmethod
    def check_out(self) -> None:
        """Begin with what is published; what another run left there goes."""

    @abstractmethod
    def go_on(self) -> None:
        """Build on what is there, which is the run's own."""

    @abstractmethod
    def check(self) -> tuple[int, int] | None:
        """Return which file it is, None for none; BuildIncomplete where it is not the one that it was."""

    @abstractmethod
    def look(self) -> Look:
        """Return what is another after each commit."""

    @abstractmethod
    def publish(self, certificate: Certificate, artifacts: Sequence[Path]) -> Generation | None:
        """Make it the next generation; None where builds stay in place."""

    @abstractmethod
    def keep_aside(self, certificate: Certificate, artifacts: Sequence[Path]) -> Generation | None:
        """Make it a preview; None where there is no copy that could be kept."""

    @abstractmethod
    def drop(self) -> None:
        """Remove what the run built on: it ended well, nothing of it is kept, and it will not come back to resume."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Be the one that changes what is published, in the block; WarehouseBusy where that takes too long."""

    @abstractmethod
    def _obstacle_of(self, run_id: str) -> str:
        """Say why what that run has built cannot be built on; empty where it can."""

    @abstractmethod
    def _make_own(self, earlier: str) -> None:
        """Note that what the earlier run has built is this run's."""
