"""A person at a browser: one tab of a headless Chromium.

    with browser.opened() as page:
        page.go("http://127.0.0.1:4300/reader/")
        page.click("a", "Generations")
        page.shows("current")
    page.problems  # what its console and its network had to say against it

`chromium.dom` is enough for a page that is only looked at once.
"""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import devtools
from devtools import Tab
from waiting import until

T = TypeVar("T")

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
((found) => {
  if (!found) return null;
  found.scrollIntoView({block: "center"});
  const box = found.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})(%s)
"""


class Page:
    """What a person does with a page, and sees of it."""

    def __init__(self, tab: Tab) -> None:
        self._tab = tab

    @property
    def problems(self) -> list[str]:
        """Errors of scripts and of the console, and requests that failed."""
        return self._tab.problems

    @property
    def answers(self) -> list[tuple[str, str, int]]:
        """Type, address and status of each answer."""
        return self._tab.answers

    # ---- what a person does

    def log_in(self, user: str, password: str) -> None:
        """Answer the browser's own question for a login, whatever asks for one."""
        self._tab.login = {"response": "ProvideCredentials", "username": user, "password": password}
        self._tab.call("Fetch.enable", handleAuthRequests=True)

    def go(self, url: str, seconds: float = 60, *, wholly: bool = True) -> None:
        """Open an address, and wait until everything that it asks for has come; some pages never stop asking."""
        before = self._tab.loads
        # Where only the part after # is another one, nothing is loaded.
        if "loaderId" in self._tab.call("Page.navigate", url=url):
            self.until(lambda: self._tab.loads > before, seconds, f"the load of {url}")
        if wholly:
            self.until(lambda: not self._tab.open, seconds, f"all answers for {url}")

    def click(self, selector: str, text: str = "", number: int = 0, seconds: float = 30) -> None:
        """Click on an element in the middle, once it is there; `number` is which of several."""
        x, y = self._place(selector, text, number, seconds)
        for kind, buttons in (("mouseMoved", 0), ("mousePressed", 1), ("mouseReleased", 0)):
            at = {"x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1}
            self._tab.call("Input.dispatchMouseEvent", type=kind, **at)

    def write(self, selector: str, words: str, number: int = 0) -> None:
        """Click into a field, and write in place of what it holds."""
        self.click(selector, number=number)
        self.press("a", 65, modifiers=_CONTROL, commands=["selectAll"])
        self._tab.call("Input.insertText", text=words)

    def press(self, key: str, code: int, **more: Any) -> None:
        for kind in ("keyDown", "keyUp"):
            self._tab.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def look(self, *, width: int, dark: bool = False) -> None:
        """See it in a window of that width, by day or by night."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self._tab.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._tab.call("Emulation.setEmulatedMedia", features=[scheme])

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
            missing = [each for each in texts if each not in self.text]
            raise AssertionError(f"{missing} not in {self.url}: {self.text}\n{self.problems[-5:]}") from error
        return self.text

    def count(self, selector: str, text: str = "") -> int:
        return int(self.ask(f"{_find(selector, text)}.length") or 0)

    def there(self, selector: str, text: str = "") -> bool:
        return self.count(selector, text) > 0

    def picture(self, path: Path) -> None:
        """Write it as PNG, in its whole height."""
        data = self._tab.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    # ---- for tests

    def run(self, script: str) -> None:
        """Run statements in the page."""
        self.ask(f"(() => {{ {script} }})()")

    def ask(self, script: str) -> Any:
        """What an expression gives in the page; None while it is on its way to another one."""
        answer = self._tab.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer.get("result", {}).get("value")

    def until(self, condition: Callable[[], T | None], seconds: float = 30, what: str = "") -> T:
        """Wait for a condition, and listen to the browser meanwhile."""

        def looked() -> T | None:
            self._tab.listen(0.01)
            return condition()

        return until(looked, seconds, what)

    def _place(self, selector: str, text: str, number: int, seconds: float) -> tuple[float, float]:
        """Where an element is, once it stays there."""
        seen: list[Any] = [None]

        def stays() -> Any:
            seen.append(self.ask(_PLACE % f"{_find(selector, text)}[{number}]"))
            return seen[-1] if seen[-1] == seen[-2] else None

        x, y = self.until(stays, seconds, f"{selector} {text!r} in {self.url}")
        return x, y


def _find(selector: str, text: str) -> str:
    return _FIND.strip() % (json.dumps(selector), json.dumps(text))


@contextmanager
def opened(width: int = 1280) -> Iterator[Page]:
    """Start a browser with an empty profile; skips the test where there is no Chromium."""
    with devtools.opened(width) as tab:
        yield Page(tab)
