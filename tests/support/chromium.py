"""A page as people see it: in headless Chromium, after its scripts have run."""

import shutil
import subprocess
import tempfile

import pytest

# As it is named by Linux distributions, and by the machines of GitHub's CI.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")


def path() -> str:
    """The browser; skips the test where there is none."""
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(_NAMES)} is on PATH")
    return browser


def dom(url: str, width: int = 1280) -> str:
    """Open the page and return its elements as text."""
    with tempfile.TemporaryDirectory() as profile:
        options = [*OPTIONS, "--virtual-time-budget=20000", f"--window-size={width},900", f"--user-data-dir={profile}"]
        done = subprocess.run(
            [path(), *options, "--dump-dom", url],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    return done.stdout
