"""Servers in containers, for tests."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest


def docker(*words: str) -> str:
    """Run a docker command that has to end well; what it printed."""
    found = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert found.returncode == 0, f"docker {words[0]}: {found.stderr}"
    return found.stdout


@contextmanager
def started(what: str, image: str, options: tuple[str, ...], *command: str) -> Iterator[str]:
    """Start a container and remove it at the end; its name.

    Skipped where there is no docker or no such image, which on CI is a failure.
    """
    if reason := _missing(image):
        if os.environ.get("CI") == "true":
            pytest.fail(f"no tests with {what}, although CI is true: {reason}")
        pytest.skip(f"no tests with {what}: {reason}")
    name = f"dbtpod-test-{uuid.uuid4().hex[:8]}"
    docker("run", "--detach", "--name", name, *options, image, *command)
    try:
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], check=False, capture_output=True)


@cache
def _missing(image: str) -> str:
    if not shutil.which("docker"):
        return "docker is not on PATH"
    found = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        return f"docker does not answer: {found.stderr.strip()[-200:]}"
    found = subprocess.run(["docker", "image", "inspect", image], capture_output=True, text=True, check=False)
    # It is pulled where a registry can be reached.
    if found.returncode != 0:
        found = subprocess.run(["docker", "pull", image], capture_output=True, text=True, check=False)
    return "" if found.returncode == 0 else f"docker has no {image}: {found.stderr.strip()[-200:]}"
