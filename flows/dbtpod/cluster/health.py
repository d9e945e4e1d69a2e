"""The watchdog's answers to Kubernetes' probes: /alive while its rounds go on, /ready while the worker works."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Longer than a round with every request at its timeout.
STALE_SECONDS = 90


class Health:
    """What the last round said, and when."""

    def __init__(self) -> None:
        """Begin alive and not ready."""
        self._ready, self._told_at = False, time.monotonic()

    def tell(self, ready: bool) -> None:
        """Record the end of a round."""
        self._ready, self._told_at = ready, time.monotonic()

    def answers(self, path: str) -> bool:
        """Answer one probe; a round that does not end makes both false."""
        going = time.monotonic() - self._told_at < STALE_SECONDS
        return going and (path == "/alive" or (path == "/ready" and self._ready))

    @classmethod
    def serve(cls, port: int) -> "Health":
        """Answer probes on this port from a thread, for as long as the process lives."""
        health = cls()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if health.answers(self.path) else 503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: Kubernetes asks every second."""

        server = ThreadingHTTPServer(("", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return health
