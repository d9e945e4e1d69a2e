"""The data of generations: the DuckDB file, the history of its runs, and what there is.

A generation's address is fixed and its file never changes, so that a program reads it in pieces, over hours. `current`
is another file after each build, and DuckDB's httpfs asks the address that it was given for every piece: with a plain
redirect, the session that has it attached fails at the first read after a build (measured with DuckDB 1.5.5: it sees
another ETag). No header lets a server know the session again. So `current` is given as a whole: HEAD tells no length,
upon which httpfs reads the file with one GET and keeps it, and that GET is redirected to a generation. The history of
runs up to now is another file after each run, and is given as a whole too.
"""

import asyncio
import re
from collections.abc import Callable
from typing import TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from dbtpod.errors import WarehouseUnusable
from dbtpod.reader import answers, sending
from dbtpod.reader.held import File, Held
from dbtpod.reader.limits import Places
from dbtpod.reader.settings import Reader
from dbtpod.warehouse import builds

CURRENT = "current"
# httpfs keeps a whole file in memory, three to four times while it arrives (measured with DuckDB 1.5.5).
WHOLE_BYTES = 256 * 2**20
_NUMBER = re.compile("[1-9][0-9]{0,17}", re.ASCII)
NO_STORE = {"Cache-Control": "no-store"}
T = TypeVar("T")


def routes(reader: Reader, held: Held, places: Places) -> list[BaseRoute]:
    """Return the routes below the reader's path."""
    files = _Files(reader, held, places)
    return [
        Route("/data/generations.json", files.listing),
        Route(f"/data/{builds.HISTORY}", files.history),
        Route("/data/{number}/{name}", files.file),
    ]


class Numbers:
    """Generations as addresses name them."""

    def __init__(self, reader: Reader, held: Held) -> None:
        self._reader = reader
        self._held = held

    def current(self) -> int:
        """Return the number of the one that readers see."""
        number = self._reader.kept.generations.current()
        if number is None:
            raise HTTPException(404, f"Nothing is published in {self._reader.kept.volume.published} yet.")
        return number

    def missing(self, number: str) -> HTTPException:
        """Say that this is no generation, or one without data here, and which there are."""
        there = self._held.numbers()
        if not _NUMBER.fullmatch(number):
            return HTTPException(404, f"{number[:50]!r} is neither a generation's number nor `{CURRENT}`.")
        found = self._reader.kept.generations.read(int(number))
        if found and found[0].is_remote:
            return HTTPException(404, f"Generation {number} has no data here: {elsewhere(self._reader)}", NO_STORE)
        was = "is not kept any more" if there and int(number) < there[-1] else "is not there"
        names = ", ".join(map(str, there)) or "none"
        # A number never comes back.
        status = 410 if "any more" in was else 404
        return HTTPException(status, f"Generation {number} {was}. There are: {names}.", NO_STORE)

    def parse(self, number: str) -> int:
        """Return the number; 404 for what is none."""
        if not _NUMBER.fullmatch(number):
            raise self.missing(number)
        return int(number)


def elsewhere(reader: Reader) -> str:
    """Say how to get at data that is not here."""
    return f"it is in {reader.server}. Connect to that with a client of its own, and a user who may read."


class _Files:
    def __init__(self, reader: Reader, held: Held, places: Places) -> None:
        self._reader = reader
        self._held = held
        self._places = places
        self._numbers = Numbers(reader, held)

    async def file(self, request: Request) -> Response:
        number, name = request.path_params["number"], request.path_params["name"]
        if name not in self._held.names:
            there = ", ".join(self._held.names)
            raise HTTPException(404, f"{name[:100]!r} is no file of a generation. There are: {there}, tables/…")
        if number == CURRENT:
            return await self._current(request, name)
        found = await aside(self._held.file, self._numbers.parse(number), name)
        if found is None:
            if name != self._held.names[0] and await aside(self._held.file, int(number), self._held.names[0]):
                raise HTTPException(404, f"Generation {number} has no {name}.")
            raise await aside(self._numbers.missing, number)
        return sending.answer(request, found, self._places)

    async def _current(self, request: Request, name: str) -> Response:
        number = await aside(self._numbers.current)
        address = f"{self._reader.path}/data/{number}/{name}"
        if request.method == "GET" and "range" not in request.headers:
            return RedirectResponse(address, 307, NO_STORE)
        # A program that reads in pieces begins with HEAD, or with a first piece.
        found = await aside(self._held.file, number, name)
        if found is None and name == self._held.names[0]:
            raise await aside(self._numbers.missing, str(number))
        if found is None:
            raise HTTPException(404, f"Generation {number} has no {name}.")
        why = f"`{CURRENT}` is another file after each build"
        return _whole_only(request, found, why, f"Use {address}", {"Content-Location": address})

    async def history(self, request: Request) -> Response:
        """Give the history of all runs up to now, also of those that published nothing."""
        found = await aside(self._held.newest_history)
        if found is None:
            raise HTTPException(404, "There is no history yet: the first run that builds writes it.", NO_STORE)
        if request.method == "GET" and "range" not in request.headers:
            return sending.answer(request, found, self._places, sending.CHANGES)
        never_changes = f"{self._reader.path}/data/NUMBER/{builds.HISTORY}"
        why, instead = "The history is another file after each run", f"A generation's is not: {never_changes}"
        return _whole_only(request, found, why, instead, {})

    async def listing(self, request: Request) -> Response:
        """Say what there is, for programs."""
        if request.method == "HEAD":
            return without_length({})
        return JSONResponse(await aside(self._list), headers=NO_STORE)

    def _list(self) -> list[dict[str, object]]:
        generations, (name, _) = self._reader.kept.generations, self._held.names
        current = generations.pointer().number
        return [
            {
                "number": one.number,
                "current": one.number == current,
                "published": one.at.isoformat(),
                "run": one.run,
                "bytes": one.size,
                "duckdb": one.duckdb,
                "address": None if one.is_remote else f"{self._reader.path}/data/{one.number}/{name}",
            }
            for one in generations.all()
        ]


def _whole_only(request: Request, file: File, why: str, instead: str, headers: dict[str, str]) -> Response:
    """Answer a program that reads in pieces; it begins with HEAD, or with a first piece."""
    too_large = file.size > WHOLE_BYTES
    if request.method == "HEAD" and too_large:
        # With its length, so that httpfs asks for a piece: of an answer to HEAD that is an error, DuckDB only
        # says that the database does not exist.
        return Response(headers={"Content-Length": str(file.size), **headers, **NO_STORE})
    if request.method == "HEAD":
        return without_length(headers)
    size = f", and with {file.size} bytes too large to be read as a whole" if too_large else ""
    text = f"{why}{size}, so pieces of it do not belong together. {instead}"
    return answers.problem(request.scope, 413 if too_large else 416, text, {"Accept-Ranges": "none", **headers})


async def aside(function: Callable[..., T], *arguments: object) -> T:
    """Call what looks at the volume where it stops nothing else; its errors as answers."""
    try:
        return await asyncio.get_running_loop().run_in_executor(sending.THREADS, function, *arguments)
    except OSError as error:
        raise WarehouseUnusable(f"The volume cannot be read: {error.strerror}.") from error


def without_length(headers: dict[str, str]) -> Response:
    """Answer HEAD for what is made when it is asked for: httpfs then reads it with one GET."""

    return StreamingResponse(iter(()), headers={"Accept-Ranges": "none", **NO_STORE, **headers})
