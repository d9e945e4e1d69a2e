"""The objects of one place in S3, and what can be wrong with it, in one sentence each.

<prefix>/20261123T060019Z-000007/export.tar    a generation, as `dbtpod export` writes it
<prefix>/20261123T060019Z-000007/backup.json   written last and removed first: without it there is no backup
<prefix>/current.json                     names the backup of the generation that readers saw
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from dbtpod.backup import record
from dbtpod.backup.place import Place
from dbtpod.backup.record import Backup
from dbtpod.errors import BackupUnusable

if TYPE_CHECKING:
    from obstore.store import BackoffConfig, ObjectStore

EXPORT, RECORD, CURRENT = "export.tar", "backup.json", "current.json"
# A request of this size has to end within TIMEOUT.
PIECE = 8 << 20
_TIMEOUT = timedelta(seconds=120)
# A request that fails is made again for that long. The client's pauses are random and may be short: a number of tries
# would say nothing about the time.
PATIENCE = timedelta(seconds=30)
_PAUSES: "BackoffConfig" = {"init_backoff": timedelta(seconds=1), "max_backoff": timedelta(seconds=5)}
# An upload has at most this many parts in S3 (10,000), with room for what grows meanwhile.
_PARTS = 5000
_NAME = re.compile(r"\d{8}T\d{6}Z-\d+")
_FULL = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "ServiceQuotaExceededException"}
_REFUSED = {"AccessDenied", "AllAccessDisabled", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken"}
_REFUSED |= {"SignatureDoesNotMatch", "XAdminUserNotFound"}


@dataclass(frozen=True)
class Store:
    """What the backups of one warehouse are kept in."""

    place: Place
    objects: "ObjectStore"

    def names(self) -> list[str]:
        """Return the names of the whole backups, the oldest first."""
        return sorted(name for name, files in self._folders().items() if RECORD in files)

    def left_behind(self, before: datetime) -> list[str]:
        """Return those that were begun before then, and have no record: their upload or removal was cut off."""
        found = self._folders()
        return [name for name, files in found.items() if RECORD not in files and max(files.values()) < before]

    def _folders(self) -> dict[str, dict[str, datetime]]:
        """Return the files of each backup, with the time of each."""
        found: dict[str, dict[str, datetime]] = {}
        with self._errors("listed"):
            for one in (each for page in obstore.list(self.objects) for each in page):
                name, _, file = one["path"].rpartition("/")
                if _NAME.fullmatch(name):
                    found.setdefault(name, {})[file] = one["last_modified"].astimezone(UTC)
        return found

    def read(self, name: str) -> Backup:
        """Return what is known of a backup; BackupUnusable where there is none of that name."""
        text = self._read(f"{name}/{RECORD}")
        if text is None:
            raise BackupUnusable(f"There is no backup {name} in {self.place.url}. Those there are: dbtpod backup list")
        return record.from_json(name, text)

    def current(self) -> str | None:
        """Return the backup of the generation that readers saw last; None where that is not known."""
        text = self._read(CURRENT)
        try:
            name = json.loads(text)["name"] if text else None
        except (ValueError, KeyError, TypeError):
            return None
        return name if isinstance(name, str) and _NAME.fullmatch(name) else None

    def _read(self, path: str) -> bytes | None:
        with self._errors("read"):
            try:
                return bytes(obstore.get(self.objects, path).bytes())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def finish(self, backup: Backup) -> None:
        """Make what was uploaded a backup."""
        self._write(f"{backup.name}/{RECORD}", record.as_json(backup))

    def point(self, name: str) -> None:
        """Remember which backup is of the generation that readers see."""
        self._write(CURRENT, json.dumps({"name": name}).encode())

    def _write(self, path: str, text: bytes) -> None:
        with self._errors("written"):
            obstore.put(self.objects, path, text)

    @contextmanager
    def upload(self, name: str, size: int) -> Iterator[Callable[[bytes], None]]:
        """Give what writes the export of a backup, of about that size; after an error nothing of it is left."""
        part = max(PIECE, size // _PARTS)
        with self._errors("written"):
            writer = obstore.open_writer(self.objects, f"{name}/{EXPORT}", buffer_size=part, max_concurrency=2)

        def write(piece: bytes) -> None:
            with self._errors("written"):
                writer.write(piece)

        try:
            yield write
        except BaseException as error:
            # This ends the upload without a file, where the server still answers.
            with suppress(BaseError, OSError):
                writer.__exit__(type(error), error, error.__traceback__)
            raise
        with self._errors("written"):
            writer.close()

    def size(self, backup: Backup) -> int:
        """Return how many bytes of its export are there; 0 where it is gone."""
        with self._errors("read"):
            try:
                return int(obstore.head(self.objects, f"{backup.name}/{EXPORT}")["size"])
            except FileNotFoundError:
                return 0

    def piece(self, backup: Backup, start: int) -> bytes:
        """Return the next bytes of its export; none at its end."""
        length = min(PIECE, backup.size - start)
        if length <= 0:
            return b""
        with self._errors("read"):
            return bytes(obstore.get_range(self.objects, f"{backup.name}/{EXPORT}", start=start, length=length))

    def remove(self, name: str) -> None:
        """Remove a backup, its record first."""
        with self._errors("removed"):
            for file in (RECORD, EXPORT):
                obstore.delete(self.objects, f"{name}/{file}")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise BackupUnusable(problem(self.place, what, str(error))) from error


def connect(place: Place, patience: timedelta = PATIENCE) -> Store:
    """Return the store at a place; nothing is asked of it yet."""
    config = {"region": place.region} | ({"endpoint": place.endpoint} if place.endpoint else {})
    objects = S3Store(
        place.bucket,
        prefix=place.prefix,
        config=config,  # type: ignore[arg-type]
        client_options={
            "allow_http": place.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=5),
            "timeout": _TIMEOUT,
        },
        retry_config={"max_retries": 1000, "retry_timeout": patience, "backoff": _PAUSES},
    )
    return Store(place, objects)


def problem(place: Place, what: str, text: str) -> str:
    """Say what is wrong, and what to do, from what the client of S3 says."""
    code, message = (re.search(rf"<{tag}>(.*?)</{tag}>", text) for tag in ("Code", "Message"))
    said = f"{code[1]}: {message[1]}" if code and message else text.splitlines()[0]
    if "/latest/api/token" in text or "/latest/meta-data" in text:
        return (
            f"There are no credentials for {place.url}: give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY by "
            "backup.credentialsSecret, or a role by backup.serviceAccount.annotations."
        )
    if code and code[1] == "NoSuchBucket":
        return f"There is no bucket {place.bucket} at {place.server}: create it, or correct backup.bucket."
    if code and code[1] in _REFUSED:
        return f"{place.server} refuses the credentials for {place.url} ({said})."
    if code and code[1] in _FULL:
        return f"{place.server} has no room for {place.url} ({said}): nothing was removed."
    if "InvalidCertificate" in text:
        return f"The certificate of {place.server} is not trusted: give its authority by certificateAuthorities."
    if not code and "HTTP error" in text:
        tries = re.search(r"after (\d+) retries", text)
        again = f" in {int(tries[1]) + 1} tries" if tries else ""
        return (
            f"{place.server} does not answer{again}: {place.url} cannot be {what}. Correct backup.endpoint, or let the "
            "network policies and the proxy allow it."
        )
    return f"{place.url} cannot be {what}: {said}"
