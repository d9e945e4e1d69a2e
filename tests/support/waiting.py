"""Waiting for a condition, the one way in all tests."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

# Between two looks: soon at first, and later not too often for conditions that are a process or a request.
FIRST_PAUSE_SECONDS = 0.01
PAUSE_SECONDS = 0.2

T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = 60, what: str = "") -> T:
    """Wait for a condition and return its first true value; fail after a bound that only a broken feature reaches."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what or 'the condition'}: not within {seconds} s, but {found!r}"
        time.sleep(pause)
        pause = min(PAUSE_SECONDS, pause * 1.3)
    return found


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask a process to end, and kill it where it has not after that time."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(60)
