"""The environment of this process."""

import os
from collections.abc import Mapping


def environment() -> dict[str, str]:
    """Return a copy of it.

    A copy, as it cannot change while another thread reads it. os.environ is read here, and by the watchdog, which
    imports nothing of ours; a lint rule refuses it elsewhere.
    """
    return dict(os.environ)


def of_helper() -> dict[str, str]:
    """Return what a process needs that only works with files: no setting of ours, and none of the secrets there."""
    return {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "PATH", "TMPDIR")}


def add_to_environment(values: Mapping[str, str]) -> None:
    """Give variables to this process and to what it starts; for a process that has no second thread yet."""
    os.environ.update(values)
