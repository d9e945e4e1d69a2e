"""What is published: the generations, and which of them readers see. It only reads, and needs no lock.

That the link is missing does not mean that nothing was published: only a volume without any generation is new.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from dbtpod.errors import DbtPodError, WarehouseUnusable
from dbtpod.warehouse import durable
from dbtpod.warehouse.builds import Builds, fault, number_of
from dbtpod.warehouse.durable import REPAIR
from dbtpod.warehouse.facts import Generation


@dataclass(frozen=True)
class Pointer:
    """Where `published/current` leads to."""

    number: int | None
    # Why it leads to no generation; empty where it does, and where there is none to lead to.
    problem: str = ""


@dataclass(frozen=True)
class Generations(Builds):
    """The published builds of a volume."""

    @property
    def place(self) -> Path:
        """Beside the link to the current one."""
        return self.volume.published

    def name(self, number: int) -> str:
        """Return "generation 7"."""
        return f"generation {number}"

    def is_current(self, number: int) -> bool:
        """Say whether the link leads there."""
        return self.pointer().number == number

    def pointer(self) -> Pointer:
        """Follow `published/current`."""
        link = self.volume.current
        there = self.entries()
        if not os.path.lexists(link):
            return Pointer(None, "is missing" if there else "")
        if not link.is_symlink():
            kind = "a folder" if link.is_dir() else "a file"
            return Pointer(None, f"is {kind} where a link belongs")
        target = Path(os.path.realpath(link))
        number = number_of(target.name)
        if number is None or number not in there or target.parent != self.volume.published.resolve():
            return Pointer(None, f"points to {link.readlink()}, which is no generation here")
        path = self.database(number)
        if not durable.is_file(path) and not self.unreadable(number):
            return Pointer(None, f"points to {link.readlink()}, which holds no {path.name}")
        return Pointer(number)

    def current(self) -> int | None:
        """Return the number of the generation that readers see; None before the first.

        WarehouseUnusable where the link is lost or leads nowhere.
        """
        found = self.pointer()
        if found.problem:
            raise WarehouseUnusable(
                f"{self.volume.current} {found.problem}. The next run that builds makes the newest whole generation "
                f"current again; to do it now: {REPAIR}"
            )
        return found.number

    def newest_whole(self, below: int | None = None) -> Generation | None:
        """Return the newest generation that is whole, of those below a number if one is given.

        WarehouseUnusable where a newer one cannot be read by this user or this DuckDB.
        """
        for number in reversed(self.entries()):
            if below is None or number < below:
                # It may well be whole: an older one must not take its place unseen.
                if problem := self.unreadable(number):
                    raise WarehouseUnusable(problem)
                found = self.read(number)
                if found and not fault(found[0]):
                    return found[0]
        return None

    def way_back(self, number: int) -> str:
        """Say how to go back from a damaged generation to the last one before it that is whole."""
        try:
            earlier = self.newest_whole(number)
        except DbtPodError as error:
            return f"The one before it cannot be used at once: {error}"
        if earlier is None:
            return f"No generation before it is whole: {self.bring_back()}"
        return f"Go back to the last whole one: dbtpod generations rollback {earlier.number}"

    def bring_back(self) -> str:
        """Say how a person brings a database, where no generation is whole."""
        if self.volume.is_remote:
            return f"the data in the database server is as it is. To begin with new records, move {self.place} away."
        return (
            "bring a backup, an export or a whole DuckDB file: dbtpod import FILE, or dbtpod restore --beside. To "
            f"begin from nothing, move {self.volume.published} away."
        )
