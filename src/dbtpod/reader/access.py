"""Who may ask: HTTP Basic, which browsers, curl and DuckDB know."""

import base64
import binascii
import secrets
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dbtpod.reader import answers


class Login:
    """Lets through who has the login, and whoever asks for a path that is open to all."""

    def __init__(self, app: ASGIApp, login: str | None, open_paths: Collection[str]) -> None:
        self._app = app
        self._login = login.encode() if login else None
        self._open = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 to others; a browser then asks for the login."""
        if scope["type"] == "lifespan" or self._login is None or scope["path"] in self._open or self._is_let_in(scope):
            await self._app(scope, receive, send)
            return
        text = "A login is needed: the user and the password of this reader."
        # The charset is named, as a browser would send another one (RFC 7617).
        header = {"WWW-Authenticate": 'Basic realm="dbtpod", charset="UTF-8"'}
        await answers.problem(scope, 401, text, header)(scope, receive, send)

    def _is_let_in(self, scope: Scope) -> bool:
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        if kind.lower() != "basic" or self._login is None:
            return False
        try:
            decoded = base64.b64decode(given.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        # In a time that says nothing about how much of it is right.
        return secrets.compare_digest(decoded, self._login)
