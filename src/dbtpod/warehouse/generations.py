"""What is published: the generations, and which of them readers see. It only reads, and needs no lock.

That the link is missing does not mean that nothing was published: only a volume without any generation is new.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from dbtpod.errors import DbtPodError, WarehouseUnusable
from dbtpod.warehouse import database, durable, facts
from dbtpod.warehouse.durable import CHECK, REPAIR, access_problem
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.volume import Volume

FACTS = "generation.json"


@dataclass(frozen=True)
class Pointer:
    """Where `published/current` leads to."""

    number: int | None
    # Why it leads to no generation; empty where it does, and where there is none to lead to.
    problem: str = ""


@dataclass(frozen=True)
class Generations:
    """The published builds of a volume, each a folder with a DuckDB file."""

    volume: Volume

    def entries(self) -> dict[int, Path]:
        """Return whatever has a generation's name, by number; WarehouseUnusable where that cannot be known."""
        folder = self.volume.published
        try:
            paths = [Path(one.path) for one in os.scandir(folder)]
        except OSError as error:
            if not os.path.lexists(folder):
                return {}
            raise WarehouseUnusable(f"{folder} cannot be read: {error.strerror}. See: {CHECK}") from error
        found = {number: path for path in paths if (number := number_of(path.name)) is not None}
        return dict(sorted(found.items()))

    def all(self) -> list[Generation]:
        """Return what has a database, the oldest first, whatever its facts look like."""
        found = (self.read(number) for number in self.entries())
        return [one[0] for one in found if one]

    def folder(self, number: int) -> Path:
        """Return the folder of a generation, which need not exist."""
        return self.volume.published / folder_name(number)

    def database(self, number: int) -> Path:
        """Return the DuckDB file of a generation, which need not exist."""
        return self.folder(number) / self.volume.database.name

    def read(self, number: int) -> tuple[Generation, str] | None:
        """Return one generation and what is wrong with its facts; None where it has no database."""
        path = self.database(number)
        try:
            return facts.generation(path.with_name(FACTS), number, path) if durable.is_file(path) else None
        except FileNotFoundError:
            return None  # pruned since we looked

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
        name = self.volume.database.name
        if not durable.is_file(target / name) and not self.unreadable(number):
            return Pointer(None, f"points to {link.readlink()}, which holds no {name}")
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

    def find(self, number: int) -> Generation:
        """Return one generation; WarehouseUnusable lists those there are."""
        there = {one.number: one for one in self.all()}
        if number not in there:
            names = ", ".join(map(str, there)) or "none"
            raise WarehouseUnusable(f"There is no generation {number} in {self.volume.published}; there are: {names}.")
        return there[number]

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

    def unreadable(self, number: int) -> str:
        """Say why this user may not read a generation, and what to do; "" where it may."""
        folder, path = self.folder(number), self.database(number)
        if durable.is_folder(folder) and (problem := access_problem(folder, os.R_OK | os.X_OK)):
            return problem
        return access_problem(path, os.R_OK) if durable.is_file(path) else ""

    def check_whole(self, chosen: Generation) -> None:
        """WarehouseUnusable where the file is not what was published, with the way back."""
        if found := fault(chosen):
            raise WarehouseUnusable(
                f"Generation {chosen.number} is damaged: {chosen.database} {found}. Nothing was deleted. "
                f"{self.way_back(chosen.number)}"
            )

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
        return (
            "bring a backup, an export or a whole DuckDB file: dbtpod import FILE. To begin from nothing, move "
            f"{self.volume.published} away."
        )


def number_of(name: str) -> int | None:
    """Return the number that a generation's folder of this name has; None for another name.

    >>> number_of("000007"), number_of("7"), number_of("current")
    (7, None, None)
    """
    return int(name) if re.fullmatch("[0-9]{6,18}", name) and folder_name(int(name)) == name else None


def folder_name(number: int) -> str:
    """Return the name of a generation's folder.

    >>> folder_name(7)
    '000007'
    """
    return f"{number:06d}"


def size_fault(one: Generation) -> str:
    """Say that the file has not the size that it was published with; "" where it has."""
    size = one.database.stat().st_size
    return "" if size == one.size else f"has {size} bytes, and had {one.size} when it was published"


def fault(one: Generation) -> str:
    """Say why the file is not whole; "" where it is. A file of a newer DuckDB is whole: NewerFormat."""
    try:
        if found := size_fault(one):
            return found
        database.check_database(one.database)
    except database.NewerFormat:
        raise
    except WarehouseUnusable as error:
        return f"cannot be opened: {error}".rstrip(".")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
