"""A DuckDB file, asked by a page: the history, and the columns of a generation.

A connection per request, read-only, bounded in time and memory. A file that is missing or damaged is a sentence for
the page, and never an error. Answers are kept while the file is the same: it is never changed in place.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from dbtpod.timeout import Timeout
from dbtpod.warehouse import database

Row = dict[str, Any]
_SECONDS = 15.0
# Pages are made in up to forty threads; so many of them ask DuckDB at a time.
_AT_A_TIME = threading.BoundedSemaphore(4)
_SETTINGS = "SET TimeZone = 'UTC'; SET threads = 2; SET memory_limit = '256MB'; SET temp_directory = ''"
_TOO_LONG = f"The question took longer than {_SECONDS:.0f} s."
_KEPT = 128


class Answers:
    """The last answers, by the file as it was and the question."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: OrderedDict[tuple[object, ...], list[Row]] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> list[Row] | None:
        """Return the answer, if it is known."""
        with self._lock:
            if key in self._rows:
                self._rows.move_to_end(key)
            return self._rows.get(key)

    def put(self, key: tuple[object, ...], rows: list[Row]) -> None:
        """Keep an answer."""
        with self._lock:
            self._rows[key] = rows
            if len(self._rows) > _KEPT:
                self._rows.popitem(last=False)


class Opened:
    """One DuckDB file while a page is made; `problem` is what stood against an answer, for people."""

    def __init__(self, path: Path, answers: Answers) -> None:
        self._path, self._answers = path, answers
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._left = Timeout(_SECONDS)
        self._identity: tuple[object, ...] = ()
        self.is_there = True
        self.problem = ""
        try:
            status = path.stat()
            self._identity = (status.st_ino, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            self.is_there = False
        except OSError as error:
            self.problem = f"{path.name} cannot be read: {error.strerror}."

    def __enter__(self) -> Self:
        """Connect only when the first question needs it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()
            _AT_A_TIME.release()

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """Return the answer, a dictionary for each row; none where the file cannot say."""
        if self.problem or not self.is_there:
            return []
        key = (self._path, self._identity, sql, repr(parameters))
        known = self._answers.get(key)
        if known is None and (known := self._asked(sql, parameters)) is not None:
            self._answers.put(key, known)
        return known or []

    def row(self, sql: str, *parameters: object) -> Row | None:
        """Return the first row of the answer; None where there is none."""
        return next(iter(self.rows(sql, *parameters)), None)

    def _asked(self, sql: str, parameters: Sequence[object]) -> list[Row] | None:
        try:
            if not self._connection and not self._open():
                return None
            return self._executed(sql, parameters)
        except duckdb.InterruptException:
            self.problem = _TOO_LONG
        except duckdb.Error as error:
            self.problem = f"{self._path.name} cannot be read: {str(error).splitlines()[0]}"
        return None

    def _open(self) -> bool:
        if not _AT_A_TIME.acquire(timeout=_SECONDS):
            self.problem = "Too many pages are being made: try again."
            return False
        # An instance of its own: one opened by its path would be the one that another thread has open, and so a file
        # that was replaced meanwhile.
        self._connection = duckdb.connect()
        self._connection.execute(_SETTINGS)
        self._connection.execute(f"ATTACH {database.literal(str(self._path))} AS opened (READ_ONLY)")
        self._connection.execute("USE opened")
        self._connection.execute("SET enable_external_access = false")
        return True

    def _executed(self, sql: str, parameters: Sequence[object]) -> list[Row] | None:
        assert self._connection  # noqa: S101
        if self._left.is_over:
            self.problem = _TOO_LONG
            return None
        with database.interrupted_after(self._left.left, self._connection):
            found = self._connection.execute(sql, list(parameters))
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
