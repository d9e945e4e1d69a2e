"""What the pod's probes are answered: each path is another question, and none of them asks a server."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Longer than any one request may take; a round begins many.
STALE_SECONDS = 90


class Health:
    """What the last round found, and when the loop last did something."""

    def __init__(self) -> None:
        """Begin alive and not ready, with no complaint about the worker."""
        self.ready, self.worker_is_lost, self._beaten_at = False, False, time.monotonic()

    def beat(self) -> None:
        """Record that the loop is alive; called for each request, so that many slow ones are no standstill."""
        self._beaten_at = time.monotonic()

    def answers(self, path: str) -> bool:
        """Answer one probe.

        /alive is the loop alone. /ready needs a server that has this worker and its deployments. /worker is the
        worker's liveness: it fails only when the server answers, and has not heard of this worker for minutes.
        """
        going = time.monotonic() - self._beaten_at < STALE_SECONDS
        match path:
            case "/alive":
                return going
            case "/ready":
                return going and self.ready
            case "/worker":
                return not (going and self.worker_is_lost)
        return False

    def serve(self, port: int, metrics: Callable[[], bytes]) -> None:
        """Answer probes, and Prometheus, on this port from a thread, for as long as the process lives."""
        health = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self.send_response(200)
                    self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                    self.end_headers()
                    self.wfile.write(metrics())
                    return
                self.send_response(200 if health.answers(self.path) else 503)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: Kubernetes asks every few seconds."""

        server = ThreadingHTTPServer(("", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
