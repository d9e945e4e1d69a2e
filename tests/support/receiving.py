"""A webhook's other end, and a proxy: real HTTP servers that keep what they are sent."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from serving import serving
from waiting import until


@dataclass
class Receiver:
    """What arrived, by path; for a proxy, by the whole address."""

    port: int = 0
    # What a path is answered, 200 unless it is here.
    answers: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def at(self, path: str) -> list[Any]:
        return [body for where, body in self.requests if where == path]

    def first(self, path: str, seconds: float = 90) -> Any:
        """The first message at that path, once it is there."""
        self.until(path, 1, seconds)
        return self.at(path)[0]

    def until(self, path: str, count: int, seconds: float = 90) -> None:
        """Wait for that many messages at that path."""
        until(lambda: len(self.at(path)) >= count, seconds, f"{count} alerts at {path}")


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            assert self.headers["content-type"] == "application/json"
            receiver.requests.append((self.path, json.loads(body)))
            self.send_response(receiver.answers.get(self.path, 200))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Handler) as port:
        receiver.port = port
        yield receiver
