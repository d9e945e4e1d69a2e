"""A bounded wait."""

import time


class Timeout:
    """The time that is left of a wait, by a clock that is never set.

    >>> timeout = Timeout(0)
    >>> timeout.is_over, timeout.left
    (True, 0.0)
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """The seconds that are left, never less than 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether none are left."""
        return time.monotonic() >= self._end

    def pause(self, seconds: float) -> None:
        """Sleep, and no longer than what is left."""
        time.sleep(min(seconds, self.left))
