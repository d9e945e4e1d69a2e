"""The environment of this process."""

import os


def environment() -> dict[str, str]:
    """Return a copy of it.

    A copy, as it cannot change while another thread reads it. os.environ is read here, and by the watchdog, which
    imports nothing of ours; a lint rule refuses it elsewhere.
    """
    return dict(os.environ)
