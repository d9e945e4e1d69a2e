"""Which `dbtpod serve` has a volume's data: a kernel lock, which ends with its holder, and where its server answers."""

import fcntl
import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbtpod.errors import SettingsError
from dbtpod.laptop.place import Place
from dbtpod.timeout import Timeout

_FILE = "serve.lock"
# For one that only looks whether the lock is held.
_LOOK_SECONDS = 1.0
_START_SECONDS = 240.0


@dataclass(frozen=True)
class Served:
    """A `dbtpod serve` that runs."""

    pid: int
    url: str

    @property
    def api_url(self) -> str:
        """Where its server's API is."""
        return f"{self.url}/api"


def wait(running: Served) -> None:
    """Wait for its server, which may just be starting; SettingsError where it does not answer."""
    patience = Timeout(_START_SECONDS)
    while True:
        try:
            with urllib.request.urlopen(f"{running.api_url}/health", timeout=10):  # noqa: S310
                return
        except OSError as error:
            if patience.is_over:
                raise SettingsError(
                    f"dbtpod serve has this data (process {running.pid}), but its server at {running.url} does not "
                    f"answer: {error}. End it and start it again."
                ) from error
        patience.pause(0.5)


def find(place: Place) -> Served | None:
    """Return the `serve` that has this data now; None where there is none."""
    file = _file(place)
    if not file.is_file():
        return None
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(file)
    finally:
        os.close(descriptor)
    return None


@contextmanager
def hold(place: Place, url: str) -> Iterator[None]:
    """Be the one that serves this data; SettingsError names the other one."""
    file = _file(place)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, place)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "url": url}).encode())
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _take(descriptor: int, place: Place) -> None:
    wait = Timeout(_LOOK_SECONDS)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if wait.is_over:
                other = _read(_file(place))
                who = f"process {other.pid}, with the Prefect UI at {other.url}" if other else "another process"
                raise SettingsError(
                    f"dbtpod serve runs already with the data in {place.volume.root}: {who}. End that one, or give "
                    "this one other data with DBTPOD_VOLUME."
                ) from None
        wait.pause(0.05)


def _read(file: Path) -> Served | None:
    try:
        return Served(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _file(place: Place) -> Path:
    return place.volume.root / _FILE
