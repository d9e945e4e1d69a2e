"""Errors as short text, or a small page for a browser; and the headers that every answer has."""

import html
import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dbtpod.errors import DbtPodError

_LOG = logging.getLogger("dbtpod.reader")
# Pages load nothing from elsewhere, and no page shows them in a frame.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def problem(scope: Scope, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return what went wrong, as a person or a program asked for it."""
    more = {"Cache-Control": "no-store", "Vary": "Accept", **(headers or {})}
    if "text/html" not in Headers(scope=scope).get("accept", ""):
        return PlainTextResponse(f"{text}\n", status, more)
    title = HTTPStatus(status).phrase
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><h1>{title}</h1>"
    return HTMLResponse(f"{page}<p>{html.escape(text)}</p></html>\n", status, more)


async def refused(request: Request, error: Exception) -> Response:
    """Answer a request that a route refuses, or that no route has."""
    assert isinstance(error, HTTPException)  # noqa: S101
    text = error.detail
    if text == HTTPStatus(error.status_code).phrase:
        text = f"{request.method} {request.url.path}: {text}."
    return problem(request.scope, error.status_code, text, error.headers)


async def unusable(request: Request, error: Exception) -> Response:
    """Answer where the warehouse cannot be read as it is."""
    return problem(request.scope, 503, str(error), {"Retry-After": "30"})


async def failed(request: Request, error: Exception) -> Response:
    """Answer where we failed: what exactly is in the reader's log."""
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    # Starlette answers this outside of all middleware.
    return problem(request.scope, 500, "The reader failed; its log says why.", HEADERS)


HANDLERS = {HTTPException: refused, DbtPodError: unusable, Exception: failed}


class SecurityHeaders:
    """Gives each answer the headers, where it has none of its own of that name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add them to the beginning of an answer."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add)
