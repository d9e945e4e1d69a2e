"""For how long a thing has been so, counted only while both APIs answered."""

import time
from collections.abc import Callable

# Between two rounds no more than this counts: what happened while an API was away is not known.
GAP_SECONDS = 15.0


class Watch:
    """Adds up, round by round, how long each key has been seen without a break."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._last = clock, clock()
        self._seconds: dict[str, float] = {}
        self._seen: set[str] = set()

    def seconds(self, key: str) -> float:
        """Note that it is so in this round too, and return for how long it has been.

        >>> now = iter([0.0, 5.0, 10.0])
        >>> watch = Watch(lambda: next(now))
        >>> for _ in range(2):
        ...     before = watch.seconds("pod is pending")
        ...     watch.end_round()
        >>> watch.seconds("pod is pending")
        5.0
        """
        self._seen.add(key)
        return self._seconds.get(key, 0.0)

    def end_round(self) -> None:
        """Count the time since the last round for what was seen in this one, and forget all else."""
        now = self._clock()
        passed, self._last = min(now - self._last, GAP_SECONDS), now
        self._seconds = {key: self._seconds.get(key, -passed) + passed for key in self._seen}
        self._seen = set()
