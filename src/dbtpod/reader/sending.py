"""One open file as an answer: whole or in ranges, and not at all where the client has it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from dbtpod.reader import answers, ranges
from dbtpod.reader.held import File
from dbtpod.reader.limits import Full, Places

_CHUNK = 256 * 1024
_TYPE = "application/octet-stream"
_BUSY_SECONDS = 5
# A generation's file never changes, so no client needs to ask again. It is no shared cache's: there is a login. Nor may
# a proxy compress it, as then ranges are of something else.
_FIXED = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable, no-transform"}
# For what is another file later.
CHANGES = {"Accept-Ranges": "none", "Cache-Control": "private, no-cache, no-transform"}
# Apart from those that pages use: a slow disk does not stop them.
THREADS = ThreadPoolExecutor(8, "reading")


def answer(request: Request, file: File, places: Places, more: Mapping[str, str] = _FIXED) -> Response:
    """Answer a GET or HEAD of an open file; with the headers of one that never changes, if no others are given."""
    headers = {**more, "ETag": file.etag, "Last-Modified": file.modified}
    asked = request.headers
    if not _matches(asked.get("if-match", "*"), file.etag):
        return answers.problem(request.scope, 412, "The file is another one than that of If-Match.")
    if "if-none-match" in asked and _matches(asked["if-none-match"], file.etag):
        return Response(status_code=304, headers=headers)
    try:
        parts = ranges.wanted(_range(asked, file), file.size) if request.method == "GET" else None
    except ranges.NotSatisfiable as error:
        return answers.problem(request.scope, 416, str(error), {"Content-Range": f"bytes */{file.size}"})
    if request.method == "HEAD":
        return Response(headers=headers | {"Content-Length": str(file.size)}, media_type=_TYPE)
    return Sent(file, parts, headers, places)


def busy(scope: Scope) -> Response:
    """Answer that all places are taken."""
    text = f"All places for downloads are taken. Try again in {_BUSY_SECONDS} seconds."
    return answers.problem(scope, 503, text, {"Retry-After": str(_BUSY_SECONDS)})


def _matches(header: str, etag: str) -> bool:
    return header.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in header.split(","))


def _range(asked: Headers, file: File) -> str | None:
    """Return the ranges that are asked for, if the client's part is of this file."""
    condition = asked.get("if-range")
    return asked.get("range") if condition in (None, file.etag, file.modified) else None


class Sent(StreamingResponse):
    """Bytes of the file, sent while there is a place; a client that goes away frees it."""

    def __init__(
        self,
        file: File,
        parts: list[tuple[int, int]] | None,
        headers: Mapping[str, str],
        places: Places,
        kind: str = _TYPE,
    ) -> None:
        self._file = file
        self._places = places
        boundary = secrets.token_hex(16)
        pieces: list[bytes | tuple[int, int]]
        status, more = 206, {}
        if parts is None:
            status, pieces = 200, [(0, file.size)]
        elif len(parts) == 1:
            pieces = [*parts]
            more = {"Content-Range": _content_range(parts[0], file)}
        else:
            kind = f"multipart/byteranges; boundary={boundary}"
            pieces = [piece for part in parts for piece in (_part_head(part, file, boundary), part)]
            pieces.append(f"\r\n--{boundary}--\r\n".encode())
        length = sum(len(one) if isinstance(one, bytes) else one[1] - one[0] for one in pieces)
        super().__init__(self._content(pieces), status, {**headers, **more, "Content-Length": str(length)}, kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or that there is no place."""
        try:
            async with self._places.one():
                await super().__call__(scope, receive, send)
        except Full:
            await busy(scope)(scope, receive, send)
        except asyncio.CancelledError:
            # The process ends, and so does this task: uvicorn closes the connection with a line in the log, not with
            # a traceback.
            return

    async def _content(self, pieces: list[bytes | tuple[int, int]]) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        for piece in pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            offset, end = piece
            while offset < end:
                chunk = await loop.run_in_executor(THREADS, self._file.read, offset, min(_CHUNK, end - offset))
                if not chunk:
                    raise RuntimeError("the file was cut while it was sent")
                offset += len(chunk)
                yield chunk


def _content_range(part: tuple[int, int], file: File) -> str:
    return f"bytes {part[0]}-{part[1] - 1}/{file.size}"


def _part_head(part: tuple[int, int], file: File, boundary: str) -> bytes:
    lines = (f"--{boundary}", f"Content-Type: {_TYPE}", f"Content-Range: {_content_range(part, file)}", "", "")
    return b"\r\n" + "\r\n".join(lines).encode()
