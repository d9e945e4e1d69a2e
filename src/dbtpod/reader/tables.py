"""One table or view of a generation, as Parquet or CSV; made when it is asked for, and removed once it is sent.

Its address has the names as SQL has them: `main.orders.parquet`, and quoted where a name has a dot or a quote,
`main."a.b".csv`; so no two tables have the same.
"""

import asyncio
import contextlib
import difflib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from dbtpod import settings
from dbtpod.dbt import parent_death
from dbtpod.errors import VolumeFull, WarehouseUnusable
from dbtpod.reader import answers, copying, sending
from dbtpod.reader.files import CURRENT, NO_STORE, Numbers, aside, without_length
from dbtpod.reader.held import Descriptor, File, Held
from dbtpod.reader.limits import Full, Places
from dbtpod.reader.settings import Reader

# So many are made or sent at a time; each may have its file, and as much again while DuckDB sorts.
AT_A_TIME = 4
_PATIENCE_SECONDS = 30
_LISTING_SECONDS = 30
_MAKING_SECONDS = 600
_TYPES = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv; charset=utf-8"}
_NAME = '"(?:[^"]|"")+"|[^".]+'
_ADDRESS = re.compile(f"({_NAME})\\.({_NAME})\\.({'|'.join(_TYPES)})", re.DOTALL)
# Names of so many generations are kept; a generation's never change.
_MOST_LISTED = 8
Place = tuple[str, str]
T = TypeVar("T")


def routes(reader: Reader, held: Held, places: Places) -> list[BaseRoute]:
    """Return the routes below the reader's path."""
    tables = _Tables(reader, held, places)
    return [
        Route("/data/{number}/tables.json", tables.listing),
        Route("/data/{number}/tables/{table:path}", tables.table),
    ]


def address(place: Place, form: str) -> str:
    """Return the last part of a table's address.

    >>> address(("main", "orders"), "csv"), address(("main", "a.b"), "csv")
    ('main.orders.csv', 'main.%22a.b%22.csv')
    """
    return quote(".".join([*map(_shown, place), form]), safe="")


def _shown(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if re.search('[."/]', name) or not name else name


def parse(text: str) -> tuple[Place, str] | None:
    """Return the schema and the name of an address, and its form; None where it is none.

    >>> parse('main."a.b".csv')
    (('main', 'a.b'), 'csv')
    """
    found = _ADDRESS.fullmatch(text)
    if not found:
        return None
    schema, name, form = found.groups()
    return (_plain(schema), _plain(name)), form


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


class _Tables:
    def __init__(self, reader: Reader, held: Held, places: Places) -> None:
        self._reader = reader
        self._held = held
        self._places = places
        self._numbers = Numbers(reader, held)
        self._made = Places(AT_A_TIME, _PATIENCE_SECONDS)
        self._names: dict[str, list[Place]] = {}
        # One at a time: many may ask at once for tables of a new generation.
        self._listing = asyncio.Lock()

    async def table(self, request: Request) -> Response:
        asked = parse(request.path_params["table"])
        if asked is None:
            text = "A table's address is tables/SCHEMA.NAME.parquet or .csv; a name with a dot or a quote is quoted."
            raise HTTPException(404, text)
        number, database = await self._database(request)
        place, form = await self._find(number, database, asked[0]), asked[1]
        path = f"{self._reader.path}/data/{number}/tables/{address(place, form)}"
        if request.method == "HEAD":
            return without_length({"Content-Location": path})
        if request.path_params["number"] == CURRENT:
            return RedirectResponse(path, 307, NO_STORE)
        return _Made(self._reader, self._path(number), place, form, self._made, self._places)

    async def listing(self, request: Request) -> Response:
        """Name the tables and views, with their addresses."""
        number, database = await self._database(request)
        if request.method == "HEAD":
            return without_length({})
        base = f"{self._reader.path}/data/{number}/tables"
        found = [
            {"schema": place[0], "name": place[1]} | {form: f"{base}/{address(place, form)}" for form in _TYPES}
            for place in await self._list(number, database)
        ]
        return JSONResponse(found, headers=NO_STORE)

    async def _database(self, request: Request) -> tuple[int, File]:
        given = request.path_params["number"]
        number = await aside(self._numbers.current) if given == CURRENT else self._numbers.parse(given)
        file = await aside(self._held.file, number, self._held.names[0])
        # One that was removed is open here, and DuckDB would need its path.
        if file is None or not self._path(number).is_file():
            raise await aside(self._numbers.missing, str(number))
        return number, file

    def _path(self, number: int) -> Path:
        return self._reader.kept.generations.database(number)

    async def _find(self, number: int, database: File, asked: Place) -> Place:
        names = await self._list(number, database)
        # As in SQL, upper and lower case are the same.
        lower = {(schema.lower(), name.lower()): (schema, name) for schema, name in names}
        if found := lower.get((asked[0].lower(), asked[1].lower())):
            return found
        shown = {".".join(map(_shown, place)): place for place in names}
        near = difflib.get_close_matches(".".join(map(_shown, asked)), shown, 5, 0.4)
        there = f" Similar: {', '.join(near)}." if near else ""
        text = f"Generation {number} has no table or view {'.'.join(map(_shown, asked))}.{there}"
        raise HTTPException(404, f"{text} All: {self._reader.path}/data/{number}/tables.json")

    async def _list(self, number: int, database: File) -> list[Place]:
        async with self._listing:
            if database.etag not in self._names:
                answer = await _run(self._reader, self._path(number), _LISTING_SECONDS)
                if problem := answer.get("problem"):
                    raise WarehouseUnusable(f"Generation {number} cannot be read: {problem}")
                while len(self._names) >= _MOST_LISTED:
                    del self._names[next(iter(self._names))]
                self._names[database.etag] = [(schema, name) for schema, name in answer["names"]]
            return self._names[database.etag]


class _Made(Response):
    """The file, once it is made; whoever goes away meanwhile ends the making."""

    def __init__(self, reader: Reader, database: Path, place: Place, form: str, made: Places, places: Places) -> None:
        self._reader, self._database = reader, database
        self._place, self._form = place, form
        self._made, self._places = made, places
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make it and send it, or say why not."""
        try:
            async with self._made.one():
                with tempfile.TemporaryDirectory(dir=self._reader.cache) as folder:
                    answer = await _unless_gone(receive, self._make(scope, Path(folder)))
                # Its name is gone now; the file itself goes with the last byte that is sent, or when the client does.
                if answer:
                    await answer(scope, receive, send)
        except Full:
            await sending.busy(scope)(scope, receive, send)

    async def _make(self, scope: Scope, folder: Path) -> Response:
        target = folder / f"table.{self._form}"
        most = min(self._reader.table_bytes, shutil.disk_usage(folder).free // (2 * AT_A_TIME))
        answer = await _run(
            *(self._reader, self._database, _MAKING_SECONDS),
            place=self._place,
            target=str(target),
            spill=str(folder / "spill"),
            most=most,
        )
        name = ".".join(self._place)
        if problem := answer.get("problem"):
            if "File too large" in problem or "max_temp_directory_size" in problem:
                raise VolumeFull(f"{name} needs more than the {most // 10**6} MB that a table's file may have here.")
            return answers.problem(scope, 422, f"{name} could not be written: {problem}")
        descriptor = Descriptor(os.open(target, os.O_RDONLY))
        size = os.fstat(descriptor.number).st_size
        headers = {
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(f'{name}.{self._form}', safe='')}",
            "Accept-Ranges": "none",
            **NO_STORE,
        }
        return sending.Sent(File(descriptor, size, "", "", (0, 0)), None, headers, self._places, _TYPES[self._form])


async def _run(reader: Reader, database: Path, seconds: int, **more: object) -> dict[str, Any]:
    """Have the process do it; it ends with us, and when we are cancelled."""
    request = {"database": str(database), "catalog": database.stem, "seconds": seconds, **more}
    process = await asyncio.create_subprocess_exec(
        *parent_death.tied(sys.executable, "-P", copying.__file__, json.dumps(request)),
        stdout=asyncio.subprocess.PIPE,
        env=settings.of_helper(),
        cwd=reader.cache,
    )
    try:
        output, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if process.returncode == -signal.SIGALRM:
        return {"problem": f"it took longer than {seconds} seconds."}
    if process.returncode:
        return {"problem": f"its process ended with {process.returncode}."}
    answer: dict[str, Any] = json.loads(output)
    return answer


async def _unless_gone(receive: Receive, work: Awaitable[T]) -> T | None:
    """Return what the work gives; None, with the work cancelled, once the client went away."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].result() if tasks[0].done() else None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
