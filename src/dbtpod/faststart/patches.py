"""Patches for dbt-core 1.11 and 1.12 that save start-up time and leave what dbt does unchanged.

Nine of ten lines that dbt writes of a build are debug lines, of which `events` makes nothing: neither they nor their
messages are made. Its artifacts go through json's encoder that is written in C. The arguments of data tests find macros
by name, as models do. Each is left out where `parts` finds another dbt.
"""

import json
from functools import cached_property
from multiprocessing import get_context
from types import SimpleNamespace
from typing import IO, Any

from dbtpod.dbt import events
from dbtpod.faststart import parts


def apply_before_import() -> None:
    """Have dbt's import make no code that reads and writes classes: each is made when first used, and most never are.

    dbt asks for that in its own classes, but not in those of the libraries below. And have it make locks that need no
    helper process, which each class with a lock binds as it is imported.
    """
    if parts.LAZY_CLASSES.is_usable():
        from mashumaro.config import BaseConfig

        BaseConfig.lazy_compilation = True
    if parts.LOCKS.is_usable():
        from dbt import mp_context

        mp_context._MP_CONTEXT = get_context("fork")  # type: ignore[assignment]


def apply() -> None:
    """Patch the dbt of this process, which must be imported already."""
    if parts.DEBUG_EVENTS.is_usable():
        _fire_what_is_read()
    if parts.JSON_ENCODER.is_usable():
        from dbt_common.clients import system

        # The module's own view of `json`: write_json is all that uses `dump`.
        system.json = SimpleNamespace(**vars(json) | {"dump": _dump_at_once})  # type: ignore
    if parts.TEST_ARGUMENTS.is_usable():
        from dbt_common.clients import jinja

        jinja.NativeSandboxTemplate.new_context = jinja.MacroFuzzTemplate.new_context  # type: ignore


def _fire_what_is_read() -> None:
    from dbt_common.events.base_types import BaseEvent
    from dbt_common.events.event_manager import EventManager

    fire_event, make = EventManager.fire_event, BaseEvent.__init__

    def fire_if_read(self: Any, e: Any, level: Any = None, *args: Any, **options: Any) -> None:
        if events.is_read(type(e).__name__, (level or e.level_tag()).value):
            fire_event(self, e, level, *args, **options)

    def keep(self: Any, *args: Any, **fields: Any) -> None:
        # Not by an assignment: the class takes that for one to its message, whose fields may have any name.
        vars(self)["_given"] = (args, fields)

    def message(self: Any) -> Any:
        args, fields = vars(self).pop("_given")
        make(self, *args, **fields)
        return vars(self)["pb_msg"]

    EventManager.fire_event = fire_if_read  # type: ignore[method-assign]
    BaseEvent.__init__ = keep  # type: ignore[method-assign]
    BaseEvent.pb_msg = cached_property(message)
    BaseEvent.pb_msg.__set_name__(BaseEvent, "pb_msg")


def _dump_at_once(data: Any, file: IO[str], **options: Any) -> None:
    """Write what `json.dump` writes: `dumps` uses the encoder that is written in C."""
    file.write(json.dumps(data, **options))
