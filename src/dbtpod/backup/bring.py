"""A backup back on a disk, whole or not at all: what a restore and the check of backups have in common."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, cast

from dbtpod.backup.record import Backup
from dbtpod.backup.store import Store
from dbtpod.errors import BackupUnusable, ExportUnusable
from dbtpod.warehouse import database, intake
from dbtpod.warehouse.archive import Source
from dbtpod.warehouse.intake import Received
from dbtpod.warehouse.volume import Volume

_ANOTHER = "Nothing of it was kept. Another one: dbtpod backup list"


class _Download:
    """Reads an export in S3 from its first byte to its last, as a file."""

    def __init__(self, store: Store, backup: Backup) -> None:
        self._store, self._backup = store, backup
        self._digest = hashlib.sha256()
        self._at = 0
        self._ahead = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, and none only at the end."""
        if not self._ahead:
            self._ahead = memoryview(self._store.piece(self._backup, self._at))
            self._at += len(self._ahead)
            self._digest.update(self._ahead)
        piece, self._ahead = self._ahead[:size], self._ahead[size:]
        return bytes(piece)

    def close(self) -> None:
        """Read what is left, and see that all of it is what was uploaded."""
        while self._ahead or self._at < self._backup.size:
            if not self.read(len(self._ahead) or 1):
                break
        if self._digest.hexdigest() != self._backup.digest:
            raise BackupUnusable(
                f"The backup {self._backup.name} is damaged: its SHA-256 is {self._digest.hexdigest()}, and was "
                f"{self._backup.digest} when it was uploaded. {_ANOTHER}"
            )


def choose(store: Store, name: str | None) -> Backup:
    """Return the backup of that name; without one, that of the generation that readers saw, or else the newest."""
    if name is not None:
        return store.read(name)
    names = store.names()
    if not names:
        raise BackupUnusable(f"There is no whole backup in {store.place.url} yet.")
    current = store.current()
    return store.read(current if current in names else names[-1])


@contextmanager
def receive(store: Store, backup: Backup, volume: Volume) -> Iterator[Received]:
    """Download a backup, check and open it; what is not published when the block ends is removed.

    BackupUnusable where it is not what was uploaded. VolumeFull where there is no room.
    """
    if (size := store.size(backup)) != backup.size:
        raise BackupUnusable(
            f"The backup {backup.name} is damaged: {size} of its {backup.size} bytes are there. {_ANOTHER}"
        )
    source = Source(f"{store.place.url}/{backup.name}", cast("BinaryIO", _Download(store, backup)))
    with _named(backup), intake.receive(volume, source) as received:
        if differing := difference(backup.rows, database.rows(received.database)):
            raise BackupUnusable(f"The backup {backup.name} is not what was backed up: {differing}. {_ANOTHER}")
        yield received


@contextmanager
def _named(backup: Backup) -> Iterator[None]:
    try:
        yield
    except ExportUnusable as error:
        said = str(error).partition(" Nothing of it was kept")[0]
        raise BackupUnusable(f"The backup {backup.name} cannot be restored: {said} {_ANOTHER}") from error


def difference(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """Say which tables have other rows than they had; "" where all are the same.

    >>> difference({"main.orders": 520, "main.customers": 7}, {"main.orders": 500, "main.customers": 7})
    'main.orders has 500 rows and had 520'
    """
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return ", ".join(f"{name} has {after.get(name, 'no')} rows and had {before.get(name, 'none')}" for name in names)
