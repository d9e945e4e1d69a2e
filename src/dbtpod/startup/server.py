"""Prefect's server, started once its database can be used."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from dbtpod.environment import add_to_environment


def start(arguments: Sequence[str], environment: Mapping[str, str], say: Callable[[str], None]) -> NoReturn:
    """Wait for the database, then become `prefect server start` with these arguments."""
    found = dict(environment)
    # Without these it is SQLite, which needs none of the imports below.
    if any(name.startswith("PREFECT_SERVER_DATABASE_") for name in environment):
        from dbtpod.startup import database

        mode = database.tls_mode(environment)
        add_to_environment(mode)
        # Prefect warns of a password beside a URL.
        found.pop(f"{database.FIELDS}PASSWORD", None)
        found |= mode | database.wait(environment, say)
    os.execvpe("prefect", ["prefect", "server", "start", *arguments], found)  # noqa: S606, S607
