"""A process that ends, without cleaning up, right before its n-th call into the system or DuckDB."""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import warehouse
from dbtpod.warehouse.warehouse import DuckDBFile

DIED = 99
TIME = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.+]+")

# Each path on a volume, and a hash of its content.
Look = frozenset[tuple[str, str]]


def look(kept: DuckDBFile) -> Look:
    """What is on the volume, whenever it was written."""
    found = set()
    for path in kept.volume.root.rglob("*"):
        if path.is_symlink():
            content = bytes(path.readlink())
        elif path.is_dir():
            content = b"folder"
        else:
            content = path.read_bytes()
        found.add((str(path), hashlib.sha256(TIME.sub(b"", content)).hexdigest()))
    return frozenset(found)


def twins(kept: DuckDBFile, folder: Path) -> Iterator[tuple[int, DuckDBFile]]:
    for step in range(1, 400):
        yield step, warehouse.twin(kept, folder / "volume")
        shutil.rmtree(folder / "volume")
    raise AssertionError("the steps never end")


def dies_at(step: int, action: Callable[[], object]) -> bool:
    """Run it in a process that ends, without cleaning up, right before its n-th call into the system or DuckDB."""
    child = os.fork()
    if child == 0:
        sys.setprofile(Death(step))
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DIED)
    return code == 0


class Death:
    # These change nothing outside the process: queries, and reads and writes of Python's buffers before their flush.
    HARMLESS = re.compile(
        "fs(path|encode)|getpid|[lf]?stat|statvfs|scandir|listdir|is_dir|readlink|fileno|text_encoding|"
        "read|readlines?|seek|truncate|write"
    )

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, frame: object, event: str, function: object) -> None:
        if event != "c_call" or self.HARMLESS.fullmatch(getattr(function, "__name__", "")):
            return
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None) or type(owner).__module__
        if module in ("posix", "fcntl", "io", "_io", "_duckdb"):
            self.left -= 1
            if self.left == 0:
                os._exit(DIED)
