"""What `dbtpod backup` and `dbtpod restore` do. Each function gives the lines to print, as in `generations`."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dbtpod import settings, tables
from dbtpod.backup import bring, place, store, take
from dbtpod.backup.store import Store
from dbtpod.errors import WarehouseUnusable
from dbtpod.generations import Found, published
from dbtpod.warehouse import durable, intake, lock
from dbtpod.warehouse.volume import Volume

# A build is worth waiting for, after all the time that it took to receive this.
LOCK_SECONDS = 3600.0


def connect() -> Store:
    """Return where the environment says that backups are."""
    return store.connect(place.from_environment(settings.environment()))


def run(kept_in: Store, say: Callable[[str], None]) -> Found:
    """Back up each generation that is not backed up yet."""
    with published("backup run") as kept:
        if not kept.generations.entries():
            return [f"Nothing is published in {kept.volume.published} yet: there is nothing to back up."], []
        taken = take.take(kept_in, kept.generations, say)
    lines = [
        f"Backed up: generation {one.generation}, built by {one.run}, {durable.size_text(one.size)}, as {one.name}."
        for one in taken.uploaded
    ]
    if not lines and not taken.wrong:
        lines = [f"All {len(taken.there)} that are kept here were in {kept_in.place.url} already."]
    return [*lines, *(f"Removed, as {kept_in.place.keep} are kept: {name}." for name in taken.removed)], taken.wrong


def show(kept_in: Store) -> Found:
    """List the backups, * marks the one that `restore` takes."""
    names = kept_in.names()
    if not names:
        return [f"There is no backup in {kept_in.place.url} yet."], []
    chosen = bring.choose(kept_in, None).name
    rows = [("  backup", "published", "generation", "size", "tables", "rows", "run")]
    for one in map(kept_in.read, names):
        row = (
            f"{'*' if one.name == chosen else ' '} {one.name}",
            one.at.isoformat(" ", "seconds"),
            str(one.generation),
            durable.size_text(one.size),
            str(len(one.rows)),
            str(sum(one.rows.values())),
            one.run,
        )
        rows.append(row)
    return tables.lines(rows), []


def check(kept_in: Store) -> Found:
    """Restore what `restore` would take into a temporary folder, and see that it is what was backed up."""
    began = time.monotonic()
    backup = bring.choose(kept_in, None)
    with tempfile.TemporaryDirectory(prefix="dbtpod-check-") as folder:
        volume = Volume(Path(folder) / "work" / backup.database)
        with bring.receive(kept_in, backup, volume):
            seconds = time.monotonic() - began
    return [
        f"{kept_in.place.url}/{backup.name} can be restored: generation {backup.generation}, "
        f"{durable.size_text(backup.size)} in {seconds:.0f} s, {len(backup.rows)} tables with the rows they had."
    ], []


def restore(kept_in: Store, name: str | None, beside: bool, say: Callable[[str], None]) -> Found:
    """Make a backup the next generation, and current; on a volume with generations only if that was asked for."""
    with published("restore", writes=True) as kept:
        lock.check_filesystem(kept.volume.root, kept.allow_network_filesystem)
        if (there := kept.generations.entries()) and not beside:
            raise WarehouseUnusable(
                f"Not restored: {kept.volume.published} has generations already ({', '.join(map(str, there))}). To "
                "make the backup the next one, which readers then see: dbtpod restore --beside"
            )
        backup = bring.choose(kept_in, name)
        with bring.receive(kept_in, backup, kept.volume) as received:
            say(f"{kept_in.place.url}/{backup.name} is whole: {durable.size_text(backup.size)}.")
            made = intake.publish(kept.publisher, received, LOCK_SECONDS, say)
    text = f"Readers now see generation {made.number}, which was {backup.generation}, built by {backup.run}"
    return [f"{text} at {backup.at.isoformat(' ', 'seconds')}. The next build begins from it."], []
