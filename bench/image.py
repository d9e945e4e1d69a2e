"""What an edit of one model costs before it can run: the image's rebuild, and what a node pulls of it."""

import gzip
import json
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.measure import spread
from kube import IMAGE, REPO, command

EDITS = 5
BASE = "python:3.13-slim"
HEADER = "| | measured | to reach |\n|---|---|---|"


def table() -> Iterator[str]:
    """Edit, build and compare, without a cluster; yield the lines of a markdown table."""
    images = [f"{IMAGE}-edited-{number}" for number in range(EDITS + 1)]
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "dbt_project"
        shutil.copytree(REPO / "dbt_project", project, ignore=shutil.ignore_patterns("target", "logs", "dbt_packages"))
        _build(images[0], project)  # fills the cache
        seconds = [_edit_and_build(image, project) for image in images[1:]]
        megabytes = [size / 1e6 for size in _pulled(images, Path(folder) / "images.tar")]
        above_base = _above_base(images[-1]) / 1e6
        command("docker", "image", "rm", *images)
    yield HEADER
    yield f"| `make image` after an edit of one model, s | {spread(seconds)} | 5 |"
    yield f"| what a node pulls of it, MB | {spread(megabytes)} | 1 |"
    yield f"| the image on disk above {BASE}, MB | {above_base:.0f} | 250 |"


def _build(image: str, project: Path) -> None:
    command("make", "image", f"IMAGE={image}", f"DBT_PROJECT={project}", seconds=600)


def _edit_and_build(image: str, project: Path) -> float:
    """How long the rebuild takes after an edit that no build has seen."""
    model = min((project / "models").rglob("*.sql"))
    model.write_text(f"{model.read_text().rstrip()}\n-- Edited at {time.time_ns()}.\n")
    began = time.perf_counter()
    _build(image, project)
    return time.perf_counter() - began


def _pulled(images: Sequence[str], saved: Path) -> Iterator[int]:
    """The compressed bytes of the layers that each image has and the one before has not."""
    command("docker", "save", "--output", str(saved), *images, seconds=300)
    with tarfile.open(saved) as tar:
        layers = _layers(tar)
        for before, after in pairwise(images):
            new = set(layers[after]) - set(layers[before])
            assert new, f"{after} has no layer of its own"
            yield sum(len(gzip.compress(_read(tar, layers[after][digest]), 6)) for digest in new)


def _layers(tar: tarfile.TarFile) -> dict[str, dict[str, str]]:
    """The layers of each image in the archive: their files by digest."""
    found: dict[str, dict[str, str]] = {}
    for image in json.loads(_read(tar, "manifest.json")):
        digests = json.loads(_read(tar, image["Config"]))["rootfs"]["diff_ids"]
        for tag in image["RepoTags"]:
            found[tag] = dict(zip(digests, image["Layers"], strict=True))
    return found


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None, f"{name} is no file"
    return file.read()


def _above_base(image: str) -> int:
    """The bytes on disk that the base does not have."""
    base, whole = _inspected(BASE), _inspected(image)
    below = base["RootFS"]["Layers"]
    assert whole["RootFS"]["Layers"][: len(below)] == below, f"{image} was built on another {BASE}"
    return int(whole["Size"]) - int(base["Size"])


def _inspected(image: str) -> dict[str, Any]:
    [found] = json.loads(command("docker", "image", "inspect", image))
    return dict(found)
