"""Importing Prefect or dbt for less CPU: nothing that an import makes is looked through for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quickly() -> Iterator[None]:
    """Enclose imports."""
    # What they make is there to stay: looking through it for garbage costs a tenth of the time.
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
