"""A person at a browser: one page of a headless Chromium, driven over its DevTools protocol.

    with browser.opened() as page:
        page.go("http://127.0.0.1:4300/reader/")
        page.click("a", "Generations")
        assert "current" in page.text
    page.problems  # what its console and its network had to say against it

`chromium.dom` is enough for a page that is only looked at once.
"""

import base64
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
from websockets.sync.client import ClientConnection, connect

import chromium
from waiting import until

# Where a page is on its way to another one, no script can run in it.
_BETWEEN = ("context", "navigat", "Inspected target")
_CONTROL = 2
# The visible elements that a selector finds, without those that hold another one; with a text, those that show it.
_FIND = """
((selector, text) => {
  const shown = [...document.querySelectorAll(selector)].filter((each) =>
    each.checkVisibility() && (!text || (each.innerText || each.value || "").includes(text)));
  return shown.filter((each) => !shown.some((other) => other !== each && each.contains(other)));
})(%s, %s)
"""
_PLACE = """
(() => {
  const found = %s;
  if (!found) return null;
  found.scrollIntoView({block: "center"});
  const box = found.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()
"""


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._open: dict[str, str] = {}
        self._loads = 0
        # Errors of scripts and of the console, and requests that failed, each with its address.
        self.problems: list[str] = []
        self.requests: list[tuple[str, str, int]] = []

    # ---- what a person does

    def go(self, url: str, seconds: float = 60) -> None:
        """Open an address, and wait until everything that it asks for has come."""
        before = self._loads
        # Where only the part after # is another one, nothing is loaded.
        if "loaderId" in self._call("Page.navigate", url=url):
            self.until(lambda: self._loads > before, seconds, f"the load of {url}")
        self.settled(seconds)

    def click(self, selector: str, text: str = "", number: int = 0, seconds: float = 30) -> None:
        """Click on an element in the middle, once it is there; `number` is which of several."""
        x, y = self._place(selector, text, number, seconds)
        for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def write(self, selector: str, words: str, number: int = 0) -> None:
        """Click into a field, and write in place of what it holds."""
        self.click(selector, number=number)
        everything = {"key": "a", "code": "KeyA", "windowsVirtualKeyCode": 65, "modifiers": _CONTROL}
        self._call("Input.dispatchKeyEvent", type="keyDown", commands=["selectAll"], **everything)
        self._call("Input.dispatchKeyEvent", type="keyUp", **everything)
        self._call("Input.insertText", text=words)

    def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    # ---- what a person sees

    @property
    def text(self) -> str:
        """Every word that is shown, with one blank between two."""
        return " ".join(str(self.ask("document.body ? document.body.innerText : ''") or "").split())

    @property
    def url(self) -> str:
        return str(self.ask("location.href"))

    def shows(self, *texts: str, seconds: float = 30) -> str:
        """Wait until the page has these texts; the whole of what it shows."""
        try:
            self.until(lambda: all(each in self.text for each in texts), seconds)
        except AssertionError as error:
            raise AssertionError(f"{texts} not in {self.url}: {self.text}\n{self.problems[-5:]}") from error
        return self.text

    def count(self, selector: str, text: str = "") -> int:
        return int(self.ask(f"{_find(selector, text)}.length") or 0)

    def there(self, selector: str, text: str = "") -> bool:
        return self.count(selector, text) > 0

    def run(self, script: str) -> None:
        """Run statements in the page."""
        self.ask(f"(() => {{ {script} }})()")

    def ask(self, script: str) -> Any:
        """What an expression gives in the page; None while it is on its way to another one."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer.get("result", {}).get("value")

    def picture(self, path: Path) -> None:
        """Write it as PNG, in its whole height."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def look(self, *, width: int, dark: bool = False, height: int = 900) -> None:
        """See it in a window of that width, by day or by night."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    # ---- waiting

    def until(self, condition: Any, seconds: float = 30, what: str = "") -> Any:
        """Wait for a condition, and listen to the browser meanwhile."""

        def looked() -> Any:
            self._listen(0.01)
            return condition()

        return until(looked, seconds, what)

    def settled(self, seconds: float = 30) -> None:
        """Wait until no request is open any more; those that stay open by design are none."""
        self.until(lambda: not self._open, seconds, f"the end of {list(self._open.values())}")

    def _place(self, selector: str, text: str, number: int, seconds: float) -> tuple[float, float]:
        """Where an element is, once it stays there."""
        seen: list[Any] = [None]

        def stays() -> Any:
            seen.append(self.ask(_PLACE % f"{_find(selector, text)}[{number}]"))
            return seen[-1] if seen[-1] == seen[-2] else None

        x, y = self.until(stays, seconds, f"{selector} {text!r} in {self.url}")
        return x, y

    # ---- the protocol

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (said := json.loads(self._socket.recv(60))).get("id") != number:
            self._hear(said)
        if error := said.get("error"):
            if any(word in error["message"] for word in _BETWEEN):
                return {}
            raise AssertionError(f"{method}: {error['message']}")
        answer: dict[str, Any] = said["result"]
        return answer

    def _listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                self._hear(json.loads(self._socket.recv(left)))
            except TimeoutError:
                return

    def _hear(self, said: Mapping[str, Any]) -> None:
        event, given = said.get("method"), said.get("params", {})
        if event == "Page.loadEventFired":
            self._loads += 1
        elif event == "Runtime.exceptionThrown":
            details = given["exceptionDetails"]
            self.problems.append(str(details.get("exception", {}).get("description") or details["text"]))
        elif event == "Runtime.consoleAPICalled" and given["type"] in ("error", "assert"):
            self.problems.append(f"console: {' '.join(str(each.get('value')) for each in given['args'])}")
        elif event == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.problems.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif event is not None and event.startswith("Network."):
            self._hear_network(event.removeprefix("Network."), given)

    def _hear_network(self, event: str, given: Mapping[str, Any]) -> None:
        if event == "requestWillBeSent":
            self._open[given["requestId"]] = given["request"]["url"]
        elif event == "responseReceived":
            answer = given["response"]
            self.requests.append((given["type"], answer["url"], answer["status"]))
            if answer["status"] >= 400:
                self.problems.append(f"HTTP {answer['status']}: {answer['url']}")
        elif event in ("loadingFinished", "loadingFailed", "webSocketCreated"):
            url = self._open.pop(given["requestId"], "")
            # A download, and a page that the person has left.
            if event == "loadingFailed" and not given.get("canceled"):
                self.problems.append(f"{given['errorText']}: {url}")


def _find(selector: str, text: str) -> str:
    return _FIND.strip() % (json.dumps(selector), json.dumps(text))


@contextmanager
def opened(width: int = 1280) -> Iterator[Page]:
    """Start a browser with an empty profile; skips the test where there is no Chromium."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [*chromium.OPTIONS, f"--window-size={width},900", f"--user-data-dir={profile}"]
        argv = [chromium.path(), *options, "--remote-debugging-port=0", "about:blank"]
        with (Path(profile) / "log").open("w") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            with connect(_address(Path(profile)), max_size=None, proxy=None) as socket:
                page = Page(socket)
                for domain in ("Page", "Runtime", "Network", "Log"):
                    page._call(f"{domain}.enable")
                yield page
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _address(profile: Path) -> str:
    """Where the first tab listens."""
    file = profile / "DevToolsActivePort"
    port = until(lambda: file.is_file() and file.read_text().split()[:1], 60, "Chromium")[0]

    def tab() -> str:
        listed = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
        return next((each["webSocketDebuggerUrl"] for each in listed if each["type"] == "page"), "")

    return until(tab, 30, "Chromium's first tab")
