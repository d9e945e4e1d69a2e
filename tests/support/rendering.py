"""The chart as helm renders it."""

import functools
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "dbtpod"

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


def need(tool: str) -> None:
    """Skip the test where this program is missing, but let CI fail: there it must not go unseen."""
    if shutil.which(tool) is None:
        message = f"{tool} is not on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def script(name: str) -> ModuleType:
    """Import a script of charts/, which is in no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "charts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def helm_template(
    values: Mapping[str, Any], *options: str, release: str = "dbtpod", namespace: str = "dbtpod"
) -> subprocess.CompletedProcess[str]:
    """Render the whole chart: --show-only would hide errors."""
    need("helm")
    return _rendered(json.dumps(values), (release, str(CHART), "--namespace", namespace, *options))


@functools.cache
def _rendered(values: str, options: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """One process for each set of values: most tests look at the same few, and run in one process (xdist_group)."""
    command = ["helm", "template", *options, "--kube-version", "1.34.0", "--values", "-"]
    return subprocess.run(command, input=values, capture_output=True, text=True, check=False)


def render_chart(values: Mapping[str, Any] | None = None, kind: str = "", component: str = "") -> list[Manifest]:
    """Give the manifests of one kind and component, or all of them."""
    done = helm_template(values or {})
    assert done.returncode == 0, done.stderr
    return [
        each
        for each in manifests_of(done)
        if kind in ("", each["kind"])
        and component in ("", each["metadata"].get("labels", {}).get("app.kubernetes.io/component"))
    ]


def manifests_of(done: subprocess.CompletedProcess[str]) -> list[Manifest]:
    """Give what was rendered; by libyaml, which is ten times as quick."""
    return [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each]
