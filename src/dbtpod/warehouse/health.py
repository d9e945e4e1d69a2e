"""The volume as a whole: made ready when a run starts, checked and repaired by the command.

Both apply the same fixes (see `damage`). A run applies those that lose nothing and need no choice, and refuses the
rest; the command applies all. Nothing here removes a DuckDB file: what is damaged or in the way is set aside.
"""

from dbtpod.errors import DbtPodError, WarehouseUnusable
from dbtpod.warehouse import damage, damaged_generations, durable, lock
from dbtpod.warehouse.damage import Damage
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.volume import Log, Volume

# A fix can show what lay behind it, such as a link to a generation that was set aside.
_ROUNDS = 4


def make_ready(publisher: Publisher, log: Log, *, by_rename: bool = True) -> None:
    """Put right what a run may put right, with a warning for each thing; for the holder of the lock, before all else.

    `by_rename` is whether builds are published by one, and not left in place.
    WarehouseUnusable lists what stands against writing, with each path and the command that helps.
    """
    with publisher.volume.errors("a look at it"):
        found = _find(publisher, thorough=False, by_rename=by_rename)
        for one in found:
            if one.by_run or not one.blocks:
                log.warning("%s", _healed(one))
    if obstacles := [one for one in found if one.blocks and not one.by_run]:
        repair = [f"What can be repaired: {durable.REPAIR}. Then run this again."]
        lines = [one.line for one in obstacles]
        raise WarehouseUnusable("\n".join(lines + repair * any(one.fix for one in obstacles)))


def _find(publisher: Publisher, thorough: bool, by_rename: bool = True) -> list[Damage]:
    volume = publisher.volume
    renamed = damage.renames(volume) if by_rename else ()
    parts = (damage.kinds(volume), renamed, damage.owner(volume), damaged_generations.find(publisher, thorough))
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


def check(publisher: Publisher, *, by_rename: bool = True) -> list[str]:
    """Return a line for each damage: where, what, and what repairs it. It changes nothing and needs no lock."""
    with publisher.volume.errors("a look at it"):
        return [one.line for one in _find(publisher, thorough=True, by_rename=by_rename)]


def repair(publisher: Publisher, timeout: float = 30, *, by_rename: bool = True) -> tuple[list[str], list[str]]:
    """Repair what can be, under the lock; what was done, and a line for each damage that is left."""
    volume = publisher.volume
    holder = lock.Holder.here("repair of the volume")
    done: list[str] = []
    with volume.errors("its repair"):
        done += _free_lock_file(volume, timeout)
        with lock.hold(volume.lock, holder, timeout):
            for _ in range(_ROUNDS):
                found = _find(publisher, thorough=True, by_rename=by_rename)
                fixed = [text for one in found if one.fix and (text := _fixed(one))]
                done += fixed
                if not fixed:
                    break
            return done, [one.line for one in _find(publisher, thorough=True, by_rename=by_rename)]


def _free_lock_file(volume: Volume, timeout: float) -> list[str]:
    path = volume.lock
    if not durable.is_folder(path):
        return []
    with lock.hold_folder(path, timeout):
        return [f"{path} is a folder where a file belongs: moved to {volume.set_aside(path)}."]


def _fixed(one: Damage) -> str:
    try:
        return one.fix() if one.fix else ""
    except (OSError, DbtPodError):
        return ""  # it is still damaged, and the last look says so
