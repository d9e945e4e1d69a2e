"""The application: every address, below one path."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from dbtpod.errors import DbtPodError
from dbtpod.reader import answers, files, pages, tables
from dbtpod.reader.access import Login
from dbtpod.reader.held import Held
from dbtpod.reader.limits import Places
from dbtpod.reader.settings import Reader

# How long a request waits for a place: the pieces that DuckDB asks for are short.
_PATIENCE_SECONDS = 5
_LET_GO_SECONDS = 60


def create(reader: Reader) -> Starlette:
    """Put the reader together.

    `/health` is also answered outside the path: whoever probes a pod need not know it.
    """
    held, places = Held(reader.kept), Places(reader.downloads, _PATIENCE_SECONDS)
    health = Route("/health", _health)
    below: list[BaseRoute] = [
        health,
        *tables.routes(reader, held, places),
        *files.routes(reader, held, places),
        *pages.routes(reader),
    ]
    routes = below
    if reader.path:
        home = [Route(one, lambda _: _to(f"{reader.path}/")) for one in ("/", reader.path)]
        routes = [health, *home, Mount(reader.path, Router(below, redirect_slashes=False))]
    middleware = [
        Middleware(answers.SecurityHeaders),
        Middleware(Login, reader.login, {"/health", f"{reader.path}/health"}),
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(_let_go(held))
        yield
        task.cancel()

    app = Starlette(routes=routes, middleware=middleware, exception_handlers=answers.HANDLERS, lifespan=lifespan)
    # Nor below: it redirects to host and scheme of the request, which behind a proxy are not those of the address.
    app.router.redirect_slashes = False
    return app


async def _let_go(held: Held) -> None:
    while True:
        await asyncio.sleep(_LET_GO_SECONDS)
        with suppress(DbtPodError):
            await files.aside(held.let_go)


def _health(_: Request) -> Response:
    """Say that the process answers; whether anything is published is not asked."""
    return PlainTextResponse("ok\n", headers=files.NO_STORE)


def _to(address: str) -> Response:
    return RedirectResponse(address, headers=files.NO_STORE)
