"""A preview published as the next generation where its base is still current, and previews removed.

published/.000008.tmp/   its files under a second name each, until one rename makes them a generation

The preview stays until readers see the generation: whatever fails or dies on the way loses neither.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import durable, lock
from dbtpod.warehouse.builds import FACTS, size_fault
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.generations import Generations
from dbtpod.warehouse.making import Making
from dbtpod.warehouse.publish import READER_SECONDS, Publisher, remove, switch, unfinished_link


def publish(publisher: Publisher, number: int, timeout: float = 30) -> Generation:
    """Make a preview the next generation, and current; it is no preview any more.

    WarehouseUnusable where it is damaged, or names the builds that were published since its own began. WarehouseBusy
    where another one writes for longer than `timeout`. VolumeFull leaves all as it was.
    """
    previews, generations = publisher.previews, publisher.generations
    name = previews.name(number)
    with _alone(publisher, f"publishing of {name}", timeout):
        chosen = previews.find(number)
        previews.check_whole(chosen)
        if made := _published_before(generations, chosen):
            remove(previews.folder(number))
            return made
        check_base(generations, chosen, name)
        made = _make(publisher, chosen)
        # It is published; what cannot be removed is removed by age.
        with suppress(OSError):
            remove(previews.folder(number))
            publisher.prune()
    return made


def remove_one(publisher: Publisher, number: int, timeout: float = 30) -> None:
    """Remove a preview, damaged or not; WarehouseUnusable lists those there are."""
    previews = publisher.previews
    with _alone(publisher, f"removal of {previews.name(number)}", timeout):
        if number not in previews.entries():
            previews.find(number)
        remove(previews.folder(number))


def prune(publisher: Publisher, keep: int, keep_days: float) -> None:
    """Remove previews that are too old or too many; for the holder of the lock.

    Not one that is so new that somebody may be about to open it. What is damaged neither counts nor goes.
    """
    previews = publisher.previews
    whole = [one for one in previews.all() if not size_fault(one)]
    for position, one in enumerate(reversed(whole)):
        age = time.time() - previews.folder(one.number).stat().st_mtime
        if age > READER_SECONDS and (position >= keep or age > keep_days * 86400):
            remove(previews.folder(one.number))


def check_base(generations: Generations, chosen: Generation, name: str) -> None:
    """WarehouseUnusable where publishing it would undo what was published since its build began."""
    current = generations.current()
    if chosen.base == current:
        return
    began = f"began from generation {chosen.base}" if chosen.base else "began from nothing"
    if current is None:
        raise WarehouseUnusable(f"{name} {began}, and nothing is published. Run it again.")
    base = chosen.base or 0
    between = [one for one in generations.all() if base < one.number <= current]
    said = [f"{one.number} (run {one.run}, {one.at.isoformat(' ', 'seconds')})" for one in between]
    if gone := max(0, current - base - len(between)):
        said.append(f"{gone} more, removed since")
    since = f"published since: {', '.join(said)}" if said else "somebody went back to it"
    raise WarehouseUnusable(
        f"{name} {began}, but generation {current} is current, {since}. To publish {name} would undo that, so nothing "
        f"was changed. Run it again: it then begins from generation {current}."
    )


def _published_before(generations: Generations, chosen: Generation) -> Generation | None:
    """Return the current generation if it is this very file: a process died before it could remove the preview."""
    current = generations.pointer().number
    if current is None or not generations.database(current).samefile(chosen.database):
        return None
    return generations.find(current)


def _make(publisher: Publisher, chosen: Generation) -> Generation:
    described = publisher.describe(publisher.generations, chosen.run, chosen.size)
    making = Making(publisher.generations, replace(described, dbtpod=chosen.dbtpod, duckdb=chosen.duckdb))
    folder = chosen.database.parent
    try:
        making.begin([one for one in sorted(folder.iterdir()) if one.is_file() and one.name not in _own(chosen)])
        _second_name(chosen.database, making.unfinished / chosen.database.name)
        link = publisher.link(making.generation.number)
        lock.check_held(publisher.volume.lock)
        making.finish()
        switch(link)
    except BaseException:
        _undo(making)
        raise
    return making.generation


def _own(chosen: Generation) -> set[str]:
    return {chosen.database.name, FACTS}


def _second_name(source: Path, target: Path) -> None:
    """Give the file a second name; where it can have none, share or copy its blocks."""
    if not durable.link(source, target):
        size, purpose = source.stat().st_size, f"a copy of {source}"
        if not durable.clone(source, target):
            if durable.free(target.parent) < size:
                raise durable.volume_full(target.parent, size, purpose)
            with durable.volume_errors(target.parent, size, purpose):
                durable.copy(source, target)
    durable.sync(target)


def _undo(making: Making) -> None:
    """Remove the second names; the preview has the first."""
    if making.builds.is_current(making.generation.number):
        return  # readers see it already
    folder = making.generation.database.parent
    if folder.exists():
        folder.rename(making.unfinished)
    shutil.rmtree(making.unfinished, ignore_errors=True)
    unfinished_link(making.volume).unlink(missing_ok=True)


@contextmanager
def _alone(publisher: Publisher, what: str, timeout: float) -> Iterator[None]:
    with publisher.volume.errors(what), lock.hold(publisher.volume.lock, lock.Holder.here(what), timeout):
        yield
