"""Two generations compared, once, in the background: what they hold never changes."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from dbtpod.dbt import keys
from dbtpod.errors import DbtPodError
from dbtpod.reader.pages.manifest import MANIFEST
from dbtpod.warehouse import comparison
from dbtpod.warehouse.comparison import Bounds, Change
from dbtpod.warehouse.facts import Generation

_BOUNDS = Bounds(seconds=30, memory="500MB")
# A page waits so long for it; then it says that it is being made, and asks again.
_PATIENCE = 2.0
_KEPT = 64


@dataclass(frozen=True)
class Difference:
    """What is known of it by now."""

    changes: Sequence[Change] = ()
    problem: str = ""
    is_made: bool = True


class Differences:
    """Compares one pair of generations at a time."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "compare")
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[str, str], Future[list[Change]]] = OrderedDict()

    def between(self, before: Generation, after: Generation) -> Difference:
        """Return how `after` differs from `before`, if that is known soon."""
        pair = (str(before.database), str(after.database))
        with self._lock:
            if pair not in self._made:
                self._made[pair] = self._pool.submit(_changes, before, after)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)[1].cancel()
            future = self._made[pair]
        try:
            return Difference(future.result(_PATIENCE))
        except TimeoutError:
            return Difference(is_made=False)
        except DbtPodError as error:
            with self._lock:
                # It may succeed another time: a file was open for writing.
                self._made.pop(pair, None)
            return Difference(problem=str(error))


def _changes(before: Generation, after: Generation) -> list[Change]:
    known = keys.read(after.database.with_name(MANIFEST)) or keys.read(before.database.with_name(MANIFEST))
    return comparison.changes(before.database, after.database, known, _BOUNDS)
