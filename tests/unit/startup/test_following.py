"""A process ends when a Secret of its environment has changed, and else is left alone."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dbtpod.startup.following import Secrets, follow
from waiting import until

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def login(tmp_path: Path) -> Path:
    """The mounted Secret; its variable is LOGIN."""
    file = tmp_path / "login"
    file.write_text("admin:old")
    return file


def later(what: object) -> None:
    threading.Timer(0.3, what).start()  # type: ignore[arg-type]


def test_a_changed_secret_ends_the_command_well_and_says_which(login: Path) -> None:
    said: list[str] = []
    watched = Secrets({"LOGIN": login}, {"LOGIN": "admin:old"})
    later(lambda: login.write_text("admin:new"))

    assert follow(SLEEP, watched, said.append, 0.05) == 0
    assert "The Secret that LOGIN comes from has changed" in said[0]
    assert "admin" not in said[0]


def test_a_value_that_is_in_the_environment_already_is_no_change(login: Path) -> None:
    watched = Secrets({"LOGIN": login}, {"LOGIN": "admin:new"})
    login.write_text("admin:new")

    assert watched.changed() == ""
    login.write_text("admin:newer")
    assert watched.changed() == "LOGIN"


def test_a_secret_that_comes_late_or_goes_is_no_change(tmp_path: Path) -> None:
    file = tmp_path / "login"
    watched = Secrets({"LOGIN": file}, {"LOGIN": "admin:old"})

    assert watched.changed() == ""
    file.write_text("admin:old")
    assert watched.changed() == ""
    file.unlink()
    assert watched.changed() == ""


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_the_commands_exit_code_is_its_own(login: Path, program: str, code: int) -> None:
    assert follow([sys.executable, "-c", program], Secrets({}, {}), print) == code


def test_a_pod_that_is_removed_lets_the_command_end_by_itself(tmp_path: Path) -> None:
    ready, ended = tmp_path / "ready", tmp_path / "ended"
    program = (
        "import pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(ended)!r}).touch(), sys.exit(7)))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-m", "dbtpod.cli", "follow", "--", sys.executable, "-c", program]
    with subprocess.Popen(command, env=dict(os.environ)) as process:
        until(ready.exists, 30, "the command to start")
        process.send_signal(signal.SIGTERM)

        assert process.wait(30) == 7
    assert ended.exists()
