"""A real Prefect server of a test's own."""

import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx

from waiting import end, until

# The first server's database, migrated and still empty: to migrate takes a third of what a server takes to start.
_migrated = sqlite3.connect(":memory:", check_same_thread=False)


class Server:
    """Where it answers, and its process."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], home: Path) -> None:
        self.port = port
        self.database = home / "prefect.db"
        self.log = home / "server.log"
        self.process = process
        self.url = f"http://127.0.0.1:{port}/api"

    def log_with(self, text: str, times: int = 1) -> str:
        """Wait until its log has the text so often, and return the log."""
        until(lambda: self.log.read_text().count(text) >= times, 60, f"{text!r} in the server's log")
        return self.log.read_text()

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def events(self, event: str, resource: str) -> list[dict[str, Any]]:
        """The newest events of that name about that resource."""
        body = {"filter": {"event": {"name": [event]}, "resource": {"id": [resource]}}}
        found: list[dict[str, Any]] = self._call("POST", "/events/filter", body)["events"]
        return found

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = until(lambda: self._answer(method, path, body), 30, f"an answer to {method} {path}")
        return answer.raise_for_status().json()

    def _answer(self, method: str, path: str, body: Any) -> httpx.Response | None:
        """None where SQLite is too busy on a loaded machine."""
        answer = httpx.request(method, f"{self.url}{path}", json=body, timeout=30)
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

    def filter(self, what: str, flow_run_id: str) -> list[dict[str, Any]]:
        """All task_runs, logs or artifacts of a flow run."""
        body: dict[str, Any] = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "limit": 200}
        if what == "logs":
            body = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "limit": 200}
        found: list[dict[str, Any]] = []
        while True:
            page = self._call("POST", f"/{what}/filter", body | {"offset": len(found)})
            found += page
            if len(page) < 200:
                return found

    def count(self, what: str, flow_run_id: str, state: str) -> int:
        """How many of a flow run's task_runs are in a state of that type."""
        body = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "task_runs": {"state": {"type": {"any_": [state]}}}}
        return int(self._call("POST", f"/{what}/count", body))


@contextmanager
def running(home: Path, port: int = 0, **settings: str) -> Iterator[Server]:
    """A server with its database in that folder, and with these settings."""
    port = port or free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        **settings,
    }
    database = home / "prefect.db"
    is_new = not database.exists()
    is_first = not _migrated.execute("select count(*) from sqlite_master").fetchone()[0]
    if is_new and not is_first:
        with closing(sqlite3.connect(database)) as file:
            _migrated.backup(file)
    command = [sys.executable, "-m", "prefect", "server", "start", "--no-ui", "--host", "127.0.0.1"]
    with (home / "server.log").open("a") as log:
        process = subprocess.Popen([*command, "--port", str(port)], env=environment, stdout=log, stderr=log)
    server = Server(port, process, home)
    try:

        def healthy() -> bool:
            assert process.poll() is None, (home / "server.log").read_text()
            try:
                return httpx.get(f"{server.url}/health", timeout=30).is_success
            except httpx.HTTPError:
                return False

        until(healthy, 240, "a healthy Prefect server")
        if is_new and is_first and database.exists():
            with closing(sqlite3.connect(database)) as file:
                file.backup(_migrated)
        yield server
    finally:
        end(process, 20)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
