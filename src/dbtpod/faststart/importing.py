"""Importing Prefect for less CPU: a fifth of it goes into what is not used here."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quickly() -> Iterator[None]:
    """Enclose imports that come before anything else uses httpx."""
    # httpx works without its command line, which takes a fourteenth of the import.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    # What an import makes is there to stay: looking through it for garbage costs a tenth of the time.
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
