"""The application: every address, below one path."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from dbtpod.reader import answers, pages
from dbtpod.reader.access import Login
from dbtpod.reader.settings import Reader


def create(reader: Reader) -> Starlette:
    """Put the reader together.

    `/health` is also answered outside the path: whoever probes a pod need not know it.
    """
    health = Route("/health", _health)
    below: list[BaseRoute] = [health, *pages.routes(reader)]
    routes: list[BaseRoute] = below
    if reader.path:
        routes = [health, Mount(reader.path, routes=below), Route("/", lambda _: _to(f"{reader.path}/"))]
    middleware = [
        Middleware(answers.SecurityHeaders),
        Middleware(Login, reader.login, {"/health", f"{reader.path}/health"}),
    ]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=answers.HANDLERS)


def _health(_: Request) -> Response:
    """Say that the process answers; whether anything is published is not asked."""
    return PlainTextResponse("ok\n", headers={"Cache-Control": "no-store"})




def _to(address: str) -> Response:
    return RedirectResponse(address, headers={"Cache-Control": "no-store"})
