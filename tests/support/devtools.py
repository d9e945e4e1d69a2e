"""Chromium's DevTools protocol: calls with their answers, and what the browser says in between.

It needs websockets, which Prefect brings.
"""

import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

import chromium
from waiting import end, until

_DOMAINS = ("Page", "Runtime", "Network", "Log")
# Where a page is on its way to another one, nothing can be asked of it.
_BETWEEN = ("context", "navigat", "Inspected target")


class Tab:
    """One tab, and what was heard of it."""

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.loads = 0
        # The requests that have no answer yet, by their ids.
        self.open: dict[str, str] = {}
        # Type, address and status of each answer.
        self.answers: list[tuple[str, str, int]] = []
        # Errors of scripts and of the console, and requests that failed, each with its address.
        self.problems: list[str] = []
        self.login: dict[str, str] = {}
        for domain in _DOMAINS:
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call, and return the answer; an empty one while the page is on its way to another one."""
        number = self.tell(method, **parameters)
        while (said := json.loads(self._socket.recv(60))).get("id") != number:
            self._hear(said)
        if error := said.get("error"):
            if any(word in error["message"] for word in _BETWEEN):
                return {}
            raise AssertionError(f"{method}: {error['message']}")
        answer: dict[str, Any] = said["result"]
        return answer

    def tell(self, method: str, **parameters: Any) -> int:
        """Call without waiting for the answer, which is not read."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        return number

    def listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._hear(json.loads(self._socket.recv(left)))
            except TimeoutError:
                return

    def _hear(self, said: Mapping[str, Any]) -> None:
        event, given = said.get("method", ""), said.get("params", {})
        if event == "Page.loadEventFired":
            self.loads += 1
        elif event == "Fetch.requestPaused":
            self.tell("Fetch.continueRequest", requestId=given["requestId"])
        elif event == "Fetch.authRequired":
            self.tell("Fetch.continueWithAuth", requestId=given["requestId"], authChallengeResponse=self.login)
        elif event.startswith("Network."):
            self._hear_network(event.removeprefix("Network."), given)
        elif problem := _problem(event, given):
            self.problems.append(problem)

    def _hear_network(self, event: str, given: Mapping[str, Any]) -> None:
        if event == "requestWillBeSent":
            self.open[given["requestId"]] = given["request"]["url"]
        elif event == "responseReceived":
            url, status = given["response"]["url"], given["response"]["status"]
            self.answers.append((given["type"], url, status))
            if status >= 400:
                self.problems.append(f"HTTP {status}: {url}")
        elif event in ("loadingFinished", "loadingFailed"):
            url = self.open.pop(given["requestId"], "")
            # Canceled: a download, and what a person has left.
            if event == "loadingFailed" and not given.get("canceled"):
                self.problems.append(f"{given['errorText']}: {url}")


def _problem(event: str, given: Mapping[str, Any]) -> str:
    if event == "Runtime.exceptionThrown":
        details = given["exceptionDetails"]
        return str(details.get("exception", {}).get("description") or details["text"])
    if event == "Runtime.consoleAPICalled" and given["type"] in ("error", "assert"):
        return f"console: {' '.join(str(each.get('value') or each.get('description')) for each in given['args'])}"
    if event == "Log.entryAdded" and given["entry"]["level"] == "error":
        return f"{given['entry']['text']} {given['entry'].get('url', '')}"
    return ""


@contextmanager
def opened(width: int) -> Iterator[Tab]:
    """Start a browser with an empty profile; skips the test where there is no Chromium."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [*chromium.OPTIONS, f"--window-size={width},900", f"--user-data-dir={profile}"]
        argv = [chromium.path(), *options, "--remote-debugging-port=0", "about:blank"]
        with (Path(profile) / "log").open("w") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            with connect(_address(Path(profile)), max_size=None, proxy=None) as socket:
                yield Tab(socket)
        finally:
            end(process, 10)


def _address(profile: Path) -> str:
    """Where the first tab listens."""
    file = profile / "DevToolsActivePort"
    port = until(lambda: file.read_text().partition("\n")[0] if file.is_file() else "", 60, "Chromium")

    def tab() -> str:
        listed = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False, timeout=30).json()
        return next((each["webSocketDebuggerUrl"] for each in listed if each["type"] == "page"), "")

    return until(tab, 30, "Chromium's first tab")
