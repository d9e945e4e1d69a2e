"""Generations to S3, and what is too old removed."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dbtpod.backup.record import Backup, name_of
from dbtpod.backup.store import Store
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import database, export
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.generations import Generations

# Longer than any upload takes.
_CUT_OFF = timedelta(days=1)


@dataclass
class Taken:
    """What was done, by name, and what could not be."""

    uploaded: list[Backup] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def take(store: Store, generations: Generations, say: Callable[[str], None]) -> Taken:
    """Upload each generation that is not there, the newest first; then remove what is more than is kept.

    A damaged generation is in `wrong`, and the others are uploaded all the same; then nothing is removed.
    """
    here = {name_of(one): one for one in generations.all()}
    there = set(store.names())
    current = next((name for name, one in here.items() if generations.is_current(one.number)), None)
    # Not one that would be removed at once.
    wanted = kept({*here, *there}, store.place.keep, current or store.current())
    taken = Taken(there=sorted(there & here.keys()))
    for name in sorted(wanted & here.keys() - there, reverse=True):
        say(f"Uploading generation {here[name].number} to {store.place.url}/{name}.")
        try:
            taken.uploaded.append(_upload(store, generations, name, here[name]))
        except WarehouseUnusable as error:
            # One that was removed meanwhile is no longer kept here either.
            if here[name].number in generations.entries():
                taken.wrong.append(str(error))
    whole = there | {one.name for one in taken.uploaded}
    if current in whole:
        store.point(current)
    if not taken.wrong:
        taken.removed = _prune(store, sorted(whole - wanted))
    return taken


def kept(names: Iterable[str], keep: int, current: str | None) -> set[str]:
    """Return the newest, and the one that readers see, which a rollback may have made an older one.

    >>> sorted(kept(["20261121T060000Z-000005", "20261122T060000Z-000006", "20261123T060000Z-000007"], 2, None))
    ['20261122T060000Z-000006', '20261123T060000Z-000007']
    """
    found = sorted(names)
    return {*found[-keep:], *(name for name in found if name == current)}


def _upload(store: Store, generations: Generations, name: str, one: Generation) -> Backup:
    generations.check_whole(one)
    rows = database.rows(one.database)
    digest, size = hashlib.sha256(), 0
    with store.upload(name, one.size) as write:

        def send(piece: bytes) -> None:
            nonlocal size
            write(piece)
            digest.update(piece)
            size += len(piece)

        export.send(generations, one.number, send)
    backup = Backup(name, one.number, one.run, one.at, one.database.name, size, digest.hexdigest(), rows)
    store.finish(backup)
    return backup


def _prune(store: Store, names: list[str]) -> list[str]:
    for name in [*names, *store.left_behind(datetime.now(UTC) - _CUT_OFF)]:
        store.remove(name)
    return names
