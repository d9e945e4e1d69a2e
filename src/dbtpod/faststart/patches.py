"""What dbt does for nobody, or slowly, in a process of ours: left out, or done quicker, with the same outcome.

`python shortcuts.py DBT …` is the executable DBT with them, if it is of this Python's environment; else it is DBT.

Nine of ten lines that dbt writes of a build are debug lines, of which `events` makes nothing. Its artifacts go through
the encoder that is written in Python, token by token. A dbt that has not these private names goes the long way.
"""

import json
import os
import sys
from types import SimpleNamespace
from typing import IO, Any

from dbtpod.dbt import events


def take_before_import() -> None:
    """Have dbt's import make no code that reads and writes classes: each is made when first used, and most never are.

    dbt asks for that in its own classes, but not in those of the libraries below.
    """
    try:
        from mashumaro.config import BaseConfig
    except ImportError:
        return
    BaseConfig.lazy_compilation = True


def take() -> None:
    """Have the dbt of this process, which must be imported already, take the others."""
    try:
        from dbt_common.clients import system
        from dbt_common.events.event_manager import EventManager

        fire_event = EventManager.fire_event
        system.write_json  # noqa: B018
    except (ImportError, AttributeError):
        return

    def fire_if_read(self: Any, e: Any, level: Any = None, *args: Any, **options: Any) -> None:
        if events.is_read(type(e).__name__, (level or e.level_tag()).value):
            fire_event(self, e, level, *args, **options)

    EventManager.fire_event = fire_if_read  # type: ignore[method-assign]
    # The module's own view of `json`: write_json is all that uses `dump`.
    system.json = SimpleNamespace(**vars(json) | {"dump": _dump_at_once})  # type: ignore


def main(dbt: str, args: list[str]) -> None:
    """Be that executable; exits as it does."""
    take_before_import()
    try:
        from dbt.cli.main import cli
    except ImportError:
        os.execv(dbt, [dbt, *args])  # noqa: S606
    take()
    sys.argv = ["dbt", *args]
    cli.main(args, prog_name="dbt")


def _dump_at_once(data: Any, file: IO[str], **options: Any) -> None:
    """Write what `json.dump` writes: `dumps` uses the encoder that is written in C."""
    file.write(json.dumps(data, **options))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
