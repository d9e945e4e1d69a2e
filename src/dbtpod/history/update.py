"""The history of a volume brought up to date, and given to what is published; for the holder of the writer's lock.

history/history.duckdb            the newest: replaced as a whole by one rename, never changed in place
history/.new.tmp/history.duckdb   the next one in the making; after a crash the next run removes it
published/000007/history.duckdb   the one as of that generation: a second name of the file, or a copy

Nothing here fails a run. A file that is damaged is set aside, and made again from the newest generation that has one,
and from `runs/`.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from dbtpod.errors import DbtPodError, WarehouseBusy, WarehouseUnusable
from dbtpod.history import fold, folders, relations, store
from dbtpod.history.folders import Folder
from dbtpod.history.schema import FILE, TABLES
from dbtpod.history.store import Store
from dbtpod.warehouse import database, durable, run_lock
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.generations import Generations
from dbtpod.warehouse.volume import Log, Volume

# The first time there may be a hundred runs of a large project; what is left then comes with the next run.
_SECONDS = 30.0
# What opening a file gives, or reading it, that is not one of ours.
_DAMAGED = (duckdb.Error, store.NoHistory, WarehouseUnusable)


@dataclass(frozen=True)
class History:
    """The history of one volume."""

    generations: Generations
    # Rows of runs that are older go.
    days: int

    @property
    def volume(self) -> Volume:
        """Where it lies."""
        return self.generations.volume

    @property
    def file(self) -> Path:
        """The newest."""
        return self.volume.history / FILE

    def bring_up_to_date(self, log: Log, alone: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Take in what is new in `runs/` and what is published; what goes wrong is a warning.

        One warning for all: no run needs its history. `alone` takes the lock where the caller has not got it.
        """
        try:
            with alone(), self._cleaned():
                self._update(log)
                self._give()
        except Exception as error:  # whatever it is, what was built is published already
            log.warning("The history of runs could not be brought up to date: %s", error)

    @contextmanager
    def _cleaned(self) -> Iterator[None]:
        try:
            yield
        finally:
            with suppress(OSError):
                durable.remove(self._unfinished)

    def _update(self, log: Log) -> None:
        with self.volume.errors("the history of runs"):
            self.volume.history.mkdir(exist_ok=True)
            for source in self._sources(log):
                made = self._made(source, log)
                if made:
                    durable.sync(made)
                    made.replace(self.file)
                    durable.sync(self.volume.history)
                    return

    def _sources(self, log: Log) -> Iterator[Path | None]:
        """Give what the next file may be made from, the best first; None is an empty one."""
        if os.path.lexists(self.file):
            yield self.file
            place = self.volume.set_aside(self.file)
            log.warning("%s is damaged: moved to %s, and made again from what else there is.", self.file, place)
        if not self._is_warehouse:
            paths = (one.database.with_name(FILE) for one in reversed(self.generations.all()))
            yield from (path for path in paths if path.is_file())
        yield None

    def _made(self, source: Path | None, log: Log) -> Path | None:
        """Make the next file from that one; None where that one is damaged."""
        if source and not durable.is_file(source):
            return None
        durable.remove(self._unfinished)
        self._unfinished.mkdir()
        made = self._unfinished / FILE
        try:
            if source:
                _copy(source, made)
            with store.opened(made) as opened:
                self._fill(opened, log)
        except _DAMAGED as error:
            # The volume may be full, or the memory too small: the file is good then.
            if source is None or (isinstance(error, duckdb.Error | DbtPodError) and not _is_damaged(source)):
                raise
            return None
        if database.wal(made).exists():
            raise WarehouseUnusable(f"{database.wal(made)} is still there after a checkpoint")
        return made

    def _fill(self, opened: Store, log: Log) -> None:
        there = folders.all_in(self.volume.runs)
        published = {one.run: one for one in self.generations.all()}
        taken = opened.invocations()
        found = {}
        end = time.monotonic() + _SECONDS
        for folder, stamp, is_dead in self._changed(opened, there):
            rows = fold.rows(folder, taken, published, is_dead)
            taken |= {row["invocation_id"]: folder.run_id for row in rows["commands"] if row["invocation_id"]}
            found[folder.run_id] = (stamp, rows)
            if time.monotonic() > end:
                break
        opened.replace(found)
        # A preview becomes one when its run is long over.
        for run_id, one in published.items():
            opened.note_generation(run_id, one.number)
        current = self._current()
        if current and not current.is_remote and not opened.has_relations(current.number, current.run):
            try:
                opened.add_relations(current.number, current.run, current.at, relations.read(current.database))
            except duckdb.Error as error:
                log.warning("The tables of generation %d could not be looked at: %s", current.number, error)
        opened.prune(datetime.now(UTC) - timedelta(days=self.days), {one.run_id for one in there})

    def _changed(self, opened: Store, there: list[Folder]) -> Iterator[tuple[Folder, str, bool]]:
        """Give the runs to read, and whether one that does not say that it ended is dead: unchanged, and not held."""
        stamps, unended = opened.stamps(), opened.unended()
        for folder in there:
            try:
                stamp = folder.stamp
            except FileNotFoundError:
                continue  # a reader's run may clean up its own folder meanwhile
            if stamps.get(folder.run_id) != stamp:
                yield folder, stamp, False
            elif folder.run_id in unended and not run_lock.is_held(run_lock.path(self.volume.runs, folder.run_id)):
                yield folder, stamp, True

    def _give(self) -> None:
        """Give the current generation the file, if it has none."""
        current = self._current()
        if current is None or self._is_warehouse or os.path.lexists(current.database.with_name(FILE)):
            return
        target = current.database.with_name(FILE)
        with self.volume.errors("the history of runs"):
            if not durable.link(self.file, target):
                self._unfinished.mkdir(exist_ok=True)
                fresh = self._unfinished / FILE
                durable.copy(self.file, fresh)
                durable.sync(fresh)
                fresh.replace(target)
            durable.sync(target.parent)

    def _current(self) -> Generation | None:
        number = self.generations.pointer().number
        found = None if number is None else self.generations.read(number)
        return found[0] if found else None

    @property
    def _unfinished(self) -> Path:
        return self.volume.history / ".new.tmp"

    @property
    def _is_warehouse(self) -> bool:
        """Whether the project's own DuckDB file has that name: then a generation has no place for ours."""
        return self.volume.database.name == FILE


def _copy(source: Path, target: Path) -> None:
    if database.writer(source) is not None:
        raise WarehouseBusy(f"{source} is open for writing in DuckDB: close it, and open it for reading only")
    if not durable.clone(source, target):
        durable.copy(source, target)


def _is_damaged(path: Path) -> bool:
    try:
        database.check_all(path)
    except database.NewerFormat:
        return False
    except WarehouseUnusable:
        return True
    # It opens, and it has not the tables that it should have.
    try:
        with store.read(path) as history:
            for table, columns in TABLES.items():
                history.execute(f"SELECT {', '.join(map(database.quoted, columns))} FROM {table} LIMIT 0")  # noqa: S608
    except duckdb.Error:
        return True
    return False
