"""The volume as a whole: made ready when a run starts, checked and repaired by the command.

Both apply the same fixes (see `damage`). A run applies those that lose nothing and need no choice, and refuses the
rest; the command applies all. Nothing here removes a DuckDB file: what is damaged or in the way is set aside.
"""

import dataclasses
import logging
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from dbtpod.errors import DbtPodError, WarehouseBusy, WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import damage, damaged_generations, durable, lock, published
from dbtpod.warehouse.damage import Damage

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]

# A fix can show what lay behind it, such as a link to a generation that was set aside.
_ROUNDS = 4


def make_ready(settings: Settings, log: Log) -> None:
    """Put right what a run may put right, with a warning for each thing; for the holder of the lock, before all else.

    WarehouseUnusable lists what stands against writing, with each path and the command that helps.
    """
    with durable.volume_errors(settings.volume, 0, "a look at it"):
        found = _find(settings, thorough=False)
        for one in found:
            if one.by_run or not one.blocks:
                log.warning("%s", _healed(one))
    if obstacles := [one for one in found if one.blocks and not one.by_run]:
        repair = [f"What can be repaired: {durable.REPAIR}. Then run this again."]
        lines = [one.line for one in obstacles]
        raise WarehouseUnusable("\n".join(lines + repair * any(one.fix for one in obstacles)))


def _find(settings: Settings, thorough: bool) -> list[Damage]:
    parts = (damage.kinds(settings), damage.owner(settings), damaged_generations.find(settings, thorough))
    return [one for part in parts for one in part]


def _healed(one: Damage) -> str:
    if not one.fix or not one.by_run:
        return one.line
    try:
        return one.fix()
    except OSError as error:
        if one.blocks:
            raise
        # Facts are conveniences: a full volume must not stop a run for their sake.
        return f"{one.line} That failed: {error}."


def for_reading(settings: Settings, log: Log) -> Settings:
    """Return settings whose `readable_path` is a whole database; it needs no right to write.

    While `published/current` is lost, that is the newest whole generation, with a warning. WarehouseUnusable where
    there is none, and where what is published is damaged.
    """
    if not settings.publish:
        return _existing(settings)
    with durable.volume_errors(settings.volume, 0, "a look at it"):
        found = published.pointer(settings)
        if found.number is not None:
            if problem := published.unreadable(settings, found.number):
                raise WarehouseUnusable(problem)
            # A shell that has it open passes, and dbt tries again; damage does not.
            with suppress(WarehouseBusy):
                published.check_whole(settings, published.find(settings, found.number))
            return settings
        if not found.problem or settings.readable_path.is_file():
            return _existing(settings)
        chosen = published.newest_whole(settings)
    link = settings.published_dir / "current"
    if chosen is None:
        raise WarehouseUnusable(f"{link} {found.problem}, and no generation is whole: {published.bring_back(settings)}")
    log.warning(
        "%s %s. This run reads generation %d, the newest that is whole. The next run that builds puts the link right; "
        "to do it now: %s",
        *(link, found.problem, chosen.number, durable.REPAIR),
    )
    return dataclasses.replace(settings, reads=chosen.database)


def _existing(settings: Settings) -> Settings:
    if settings.readable_path.is_file():
        return settings
    raise WarehouseUnusable(
        f"There is no published warehouse at {settings.readable_path} yet: run dbt-build or dbt-smoke first."
    )


def check(settings: Settings) -> list[str]:
    """Return a line for each damage: where, what, and what repairs it. It changes nothing and needs no lock."""
    with durable.volume_errors(settings.volume, 0, "a look at it"):
        return [one.line for one in _find(settings, thorough=True)]


def repair(settings: Settings, timeout: float = 30) -> tuple[list[str], list[str]]:
    """Repair what can be, under the lock; what was done, and a line for each damage that is left."""
    holder = lock.Holder("repair of the volume", socket.gethostname(), datetime.now(UTC))
    done: list[str] = []
    with durable.volume_errors(settings.volume, 0, "its repair"):
        done += _free_lock_file(settings.lock_path, settings, timeout)
        with lock.hold(settings.lock_path, holder, timeout):
            for _ in range(_ROUNDS):
                found = _find(settings, thorough=True)
                fixed = [text for one in found if one.fix and (text := _fixed(one))]
                done += fixed
                if not fixed:
                    break
            return done, [one.line for one in _find(settings, thorough=True)]


def _free_lock_file(path: Path, settings: Settings, timeout: float) -> list[str]:
    if not durable.is_folder(path):
        return []
    with lock.hold_folder(path, timeout):
        return [f"{path} is a folder where a file belongs: moved to {durable.set_aside(settings, path)}."]


def _fixed(one: Damage) -> str:
    try:
        return one.fix() if one.fix else ""
    except (OSError, DbtPodError):
        return ""  # it is still damaged, and the last look says so
