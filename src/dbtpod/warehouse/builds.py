"""Builds that are kept, each in a folder of its own with a number: what generations and previews have in common.

It only reads, and needs no lock.
"""

import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import database, durable, facts
from dbtpod.warehouse.durable import CHECK, access_problem
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.volume import Volume

FACTS = "generation.json"
# The history of runs as of that build: see the package `history`.
HISTORY = "history.duckdb"


@dataclass(frozen=True)
class Builds(ABC):
    """The builds of one place on a volume, each a folder with a DuckDB file and what is known of it."""

    volume: Volume

    @property
    @abstractmethod
    def place(self) -> Path:
        """The folder that they lie in."""

    @abstractmethod
    def name(self, number: int) -> str:
        """Return what people call one: "generation 7"."""

    @abstractmethod
    def way_back(self, number: int) -> str:
        """Say what helps where that one is damaged."""

    @abstractmethod
    def is_current(self, number: int) -> bool:
        """Say whether that one is what readers see."""

    def entries(self) -> dict[int, Path]:
        """Return whatever has a build's name, by number; WarehouseUnusable where that cannot be known."""
        folder = self.place
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
        """Return the folder of a build, which need not exist."""
        return self.place / folder_name(number)

    def unfinished(self, number: int) -> Path:
        """Return the folder of a build in the making; after a crash the next run removes it."""
        return self.place / f".{folder_name(number)}.tmp"

    def database(self, number: int) -> Path:
        """Return the DuckDB file of a build, which need not exist.

        Where the data is in a database server, dbt's manifest stands for it; not in an older build that has a file.
        """
        path = self.folder(number) / self.volume.database.name
        return path.with_name(facts.MANIFEST) if self.volume.is_remote and not durable.is_file(path) else path

    def read(self, number: int) -> tuple[Generation, str] | None:
        """Return one build and what is wrong with its facts; None where it has no database."""
        path = self.database(number)
        try:
            return facts.generation(path.with_name(FACTS), number, path) if durable.is_file(path) else None
        except FileNotFoundError:
            return None  # pruned since we looked

    def find(self, number: int) -> Generation:
        """Return one build; WarehouseUnusable lists those there are."""
        there = {one.number: one for one in self.all()}
        if number not in there:
            names = ", ".join(map(str, there)) or "none"
            raise WarehouseUnusable(f"There is no {self.name(number)} in {self.place}; there are: {names}.")
        return there[number]

    def unreadable(self, number: int) -> str:
        """Say why this user may not read a build, and what to do; "" where it may."""
        folder, path = self.folder(number), self.database(number)
        if durable.is_folder(folder) and (problem := access_problem(folder, os.R_OK | os.X_OK)):
            return problem
        return access_problem(path, os.R_OK) if durable.is_file(path) else ""

    def check_whole(self, chosen: Generation) -> None:
        """WarehouseUnusable where the file is not what was kept, with what helps."""
        if found := fault(chosen):
            # A preview's name is what people type.
            name = self.name(chosen.number).replace("generation", "Generation")
            raise WarehouseUnusable(
                f"{name} is damaged: {chosen.database} {found}. Nothing was deleted. {self.way_back(chosen.number)}"
            )

    def next_number(self) -> int:
        """Return a number that none had: prune leaves the highest in place, one set aside keeps its own."""
        aside = self.volume.aside
        parts = [one.name.split("-") for one in aside.iterdir()] if aside.is_dir() else []
        # That place alone: a preview that was set aside is no generation.
        ours = [names for names in parts if self.place.name in names]
        gone = (number for names in ours for name in names if (number := number_of(name)) is not None)
        return max([*self.entries(), *gone], default=0) + 1


def number_of(name: str) -> int | None:
    """Return the number that a build's folder of this name has; None for another name.

    >>> number_of("000007"), number_of("7"), number_of("current")
    (7, None, None)
    """
    return int(name) if re.fullmatch("[0-9]{6,18}", name) and folder_name(int(name)) == name else None


def folder_name(number: int) -> str:
    """Return the name of a build's folder.

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
        if (found := size_fault(one)) or one.is_remote:
            return found
        database.check_database(one.database)
    except database.NewerFormat:
        raise
    except WarehouseUnusable as error:
        return f"cannot be opened: {error}".rstrip(".")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
