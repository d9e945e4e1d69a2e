"""The docs and the lineage of each generation, made one after the other when they are asked for, and kept.

    made = Made(cache)
    answer = made.docs(generation)

`answer.path` is the file; without one, `answer.problem` says why not, or is empty while the file is being made. No
call waits. What was not made is tried again after RETRY_SECONDS, when it is asked for.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dbtpod.docs.cache import Cache
from dbtpod.docs.make import DOCS, LINEAGE
from dbtpod.docs.making import BOUNDS, Bounds, Making
from dbtpod.errors import DbtPodError
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.generations import Generations
from dbtpod.warehouse.volume import Volume

CACHE_BYTES = 1 << 29
RETRY_SECONDS = 600.0
_NO_MANIFEST = (
    "This generation has no manifest.json: no dbt run of dbtpod built it, as where a database was imported. "
    "The next build has docs and lineage again."
)


@dataclass(frozen=True)
class Answer:
    """A file that is there, or why it is not."""

    path: Path | None = None
    problem: str = ""

    @property
    def is_being_made(self) -> bool:
        """Whether it is worth asking again soon."""
        return self.path is None and not self.problem


@dataclass(frozen=True)
class _Task:
    generation: Generation
    kind: str
    path: Path


class Made:
    """For all threads of a process; `cache` is a folder that no other process writes to."""

    def __init__(
        self,
        cache: Path,
        bounds: Bounds = BOUNDS,
        cache_bytes: int = CACHE_BYTES,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._cache, self._bounds, self._retry_seconds = Cache(cache, cache_bytes), bounds, retry_seconds
        self._changed = threading.Condition()
        self._wanted: dict[Path, _Task] = {}
        # When each was given up, and why.
        self._failed: dict[Path, tuple[float, str]] = {}
        self._running: tuple[_Task, Making | None] | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def docs(self, generation: Generation) -> Answer:
        """Return dbt docs of it, one HTML file."""
        return self._answer(generation, DOCS)

    def lineage(self, generation: Generation) -> Answer:
        """Return its column lineage, the JSON that `columns.of` returns."""
        return self._answer(generation, LINEAGE)

    def close(self) -> None:
        """End what is being made, and make nothing more."""
        with self._changed:
            self._is_closed = True
            self._wanted.clear()
            if self._running and self._running[1]:
                self._running[1].kill()
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _answer(self, generation: Generation, kind: str) -> Answer:
        try:
            path = self._cache.file(generation, kind)
            if self._cache.look_up(path):
                return Answer(path)
            if not generation.database.with_name("manifest.json").is_file():
                return Answer(problem=_NO_MANIFEST)
        except FileNotFoundError:
            return Answer(problem=f"Generation {generation.number} is not kept any more.")
        except OSError as error:
            return Answer(problem=f"Generation {generation.number} cannot be read: {error}")
        with self._changed:
            if (failed := self._failed.get(path)) and time.monotonic() - failed[0] < self._retry_seconds:
                return Answer(problem=failed[1])
            if self._is_closed:
                return Answer(problem="The reader is ending.")
            if not (self._running and self._running[0].path == path):
                self._wanted[path] = _Task(generation, kind, path)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="dbtpod-docs", daemon=True)
                self._thread.start()
            self._changed.notify()
        return Answer()

    def _work(self) -> None:
        while task := self._next():
            try:
                problem = self._make(task)
            except (DbtPodError, OSError) as error:
                problem = str(error)
            with self._changed:
                self._running = None
                self._failed.pop(task.path, None)
                if problem:
                    self._failed[task.path] = (time.monotonic(), problem)

    def _next(self) -> _Task | None:
        """Wait for a task: of the current generation if there is one, else of the newest; its docs first."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self._is_closed)
            if self._is_closed:
                return None
            tasks = list(self._wanted.values())
            current = _current(tasks[0].generation)
            chosen = max(
                tasks, key=lambda one: (one.generation.number == current, one.generation.number, one.kind == DOCS)
            )
            del self._wanted[chosen.path]
            self._running = (chosen, None)
            return chosen

    def _make(self, task: _Task) -> str:
        # It may have been made since it was asked for.
        if self._cache.look_up(task.path):
            return ""
        with self._cache.making() as unfinished:
            with self._changed:
                if self._is_closed:
                    return "The reader is ending."
                making = Making(task.kind, task.generation.database, unfinished, self._bounds)
                self._running = (task, making)
            if problem := making.problem():
                return problem
            self._cache.put(unfinished, task.path)
        self._cache.prune(_generations(task.generation).all())
        return ""


def _generations(one: Generation) -> Generations:
    """Return those of the volume that a generation lies on."""
    published = one.database.parent.parent
    return Generations(Volume(published.parent / "work" / one.database.name, one.is_remote))


def _current(one: Generation) -> int | None:
    """Return the number of the current generation of its volume, if there is one that can be known."""
    with suppress(DbtPodError, OSError):
        return _generations(one).pointer().number
    return None
