"""The form of an export: a tar file of which no part can be missing unseen.

export.json         first: what it is
warehouse.duckdb    and the other files of the generation's folder
SHA256SUMS          last: the checksum of each file, which an export that was cut does not have

It is written and read once, from the first byte to the last, in pieces: a larger file needs neither more memory nor a
copy. `tar` and `sha256sum` read it too, for as long as there are files.
"""

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from dbtpod.errors import ExportUnusable

HEADER, SUMS = "export.json", "SHA256SUMS"
# Another layout gets another number.
FORMAT = 1
PIECE = 1 << 20
# Far above what export.json and SHA256SUMS need, and far below what fills a pod's memory.
_SMALL = 16 << 20
# A tar file is of blocks of this size, and ends with two that are empty.
_BLOCK = 512
_AGAIN = "Nothing of it was kept: export or copy it again."


@dataclass(frozen=True)
class Header:
    """What an export says of itself before its files come."""

    # The DuckDB file's name, whose stem the views in it hold.
    database: str
    generation: int
    # Of all files together.
    size: int


class Source:
    """What is imported: a file, or what comes through a pipe."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        # What people know it by.
        self.name = name
        # Unbuffered: it gives what there is, where a pipe's end may be a long time in coming.
        self._file = file
        self._ahead = b""

    @property
    def beginning(self) -> bytes:
        """The first 512 bytes, or all if there are fewer; they are still to be read."""
        while len(self._ahead) < _BLOCK and (piece := self._next(_BLOCK - len(self._ahead))):
            self._ahead += piece
        return self._ahead

    @property
    def size(self) -> int:
        """Its bytes; 0 where only its end will show."""
        status = os.fstat(self._file.fileno())
        return status.st_size if stat.S_ISREG(status.st_mode) else 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, and none only at the end."""
        if not self._ahead:
            return self._next(size)
        piece, self._ahead = self._ahead[:size], self._ahead[size:]
        return piece

    def close(self) -> None:
        """Show the sender that no more is needed."""
        self._file.close()

    def _next(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise ExportUnusable(f"{self.name} cannot be read: {error.strerror}.") from error


def write(send: Callable[[bytes], object], header: Header, files: Mapping[str, BinaryIO], at: int) -> None:
    """Send an export of these open files, all dated `at`; EOFError where one is shorter than it was."""
    text = json.dumps({"format": FORMAT} | vars(header), indent=2)
    sums = {HEADER: _write_text(send, HEADER, text, at)}
    for name, file in files.items():
        size = file.seek(0, 2)
        file.seek(0)
        sums[name] = _write(send, name, size, _pieces(name, file, size), at)
    _write_text(send, SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()), at)
    send(bytes(2 * _BLOCK))


def _write_text(send: Callable[[bytes], object], name: str, text: str, at: int) -> str:
    return _write(send, name, len(text.encode()), iter([text.encode()]), at)


def _write(send: Callable[[bytes], object], name: str, size: int, pieces: Iterator[bytes], at: int) -> str:
    member = tarfile.TarInfo(name)
    member.size, member.mtime = size, at
    send(member.tobuf(tarfile.PAX_FORMAT))
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        send(piece)
    send(bytes(-size % _BLOCK))
    return digest.hexdigest()


def _pieces(name: str, file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = file.read(min(PIECE, size))
        if not piece:
            raise EOFError(f"{name} became shorter while it was read")
        size -= len(piece)
        yield piece


def is_like(source: Source) -> bool:
    """Say whether it begins as a tar file does."""
    return source.beginning[257:262] == b"ustar"


def read(
    source: Source,
    begin: Callable[[Header], object],
    create: Callable[[str], AbstractContextManager[BinaryIO]],
) -> tuple[Header, list[str]]:
    """Read an export to its last byte; what it says of itself, and its files.

    `begin` may refuse it before anything is kept, `create` gives the place for each file. ExportUnusable where it is
    cut, damaged or no export: whatever was kept until then is worth nothing.
    """
    name = source.name
    # With this mode it does nothing but read.
    stream = cast("BinaryIO", source)
    with _refused(name), tarfile.open(fileobj=stream, mode="r|", bufsize=PIECE) as archive:
        members = iter(archive)
        first = next(members, None)
        if first is None or first.name != HEADER:
            raise ExportUnusable(f"{name} is a tar file, but no export of dbtpod: {HEADER} is not its first file.")
        text = _small(archive, first)
        header = _header(name, text)
        begin(header)
        sums = {HEADER: hashlib.sha256(text).hexdigest()}
        left = header.size
        for member in members:
            if member.name == SUMS:
                _compare(name, sums, _small(archive, member))
                return header, [each for each in sums if each != HEADER]
            left -= member.size
            if not is_content(member.name) or member.name in sums or left < 0:
                break
            with create(member.name) as file:
                sums[member.name] = _keep(_content(archive, member), file)
    raise _cut(name)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member) if member.isreg() else None
    if content is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return content


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Turn whatever reading a damaged tar file or damaged JSON raises into one error."""
    try:
        yield
    except (tarfile.TarError, ValueError, RecursionError) as error:
        raise _cut(name) from error


def _cut(name: str) -> ExportUnusable:
    return ExportUnusable(f"{name} was cut or damaged on its way: it is no whole export. {_AGAIN}")


def _small(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > _SMALL:
        raise tarfile.ReadError(f"{member.name} has {member.size} bytes")
    return _content(archive, member).read()


def _header(name: str, text: bytes) -> Header:
    values = json.loads(text)
    if not isinstance(values, dict) or type(values.get("format")) is not int:
        raise ValueError(text)
    if values["format"] != FORMAT:
        raise ExportUnusable(
            f"{name} is an export of a newer dbtpod: its format is {values['format']}, and this one reads {FORMAT}. "
            "Use the dbtpod that made it, or a newer one."
        )
    database, generation, size = (values.get(key) for key in ("database", "generation", "size"))
    if not isinstance(database, str) or type(generation) is not int or type(size) is not int:
        raise ValueError(text)
    return Header(database, generation, size)


def is_content(name: str) -> bool:
    """Say whether an export may have a file of this path: below a folder, not hidden, and none of its own two."""
    path = PurePosixPath(name)
    is_below = str(path) == name and not path.is_absolute() and not any(part.startswith(".") for part in path.parts)
    return is_below and name not in (HEADER, SUMS)


def _keep(content: IO[bytes], file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := content.read(PIECE):
        digest.update(piece)
        file.write(piece)
    return digest.hexdigest()


def _compare(name: str, sums: Mapping[str, str], text: bytes) -> None:
    lines = (line.partition("  ") for line in text.decode().splitlines())
    expected = {file: digest for digest, _, file in lines}
    if wrong := sorted(file for file in {*sums, *expected} if sums.get(file) != expected.get(file)):
        raise ExportUnusable(f"{name} was damaged on its way: {', '.join(wrong)} is not what was sent. {_AGAIN}")
