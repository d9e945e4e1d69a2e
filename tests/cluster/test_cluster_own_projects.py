"""Somebody's own repository, as cloned: init, check, run, image and cluster, by the commands that `dbtpod init` prints.

`make soak` takes each kind; one of them is in every run of the suite.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import IO

import pytest

import cloned
from kube import REPO, Cluster, command
from release import Release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

DBTPOD = str(Path(sys.executable).with_name("dbtpod"))
ALWAYS = ("SQL that names its catalog",)
KINDS = [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.soak) for name in cloned.CLONED]
SECRET = "c4fe-not-for-the-image-51ab"
_DONE = re.compile(r"Done\. (PASS=.*)")


@dataclass
class Owner:
    """A person with a repository, who types."""

    folder: Path
    cluster: Cluster
    printed: list[str] = field(default_factory=list)

    def dbtpod(self, *words: str) -> str:
        """Run dbtpod in the repository; what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DBT"))}
        environment["SHARED"] = f"file://{self.folder}/vendor/shared.git"
        done = subprocess.run(
            [DBTPOD, *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"dbtpod {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def type(self, line: str, seconds: float = 300) -> str:
        """Type a line into a shell."""
        return command(
            *("bash", "-c", f"cd '{self.folder}' && {line}"), seconds=seconds, KUBECONFIG=str(self.cluster.kubeconfig)
        )


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> Cluster:
    """The images that a Dockerfile of a user begins with, built as the docs say."""
    command("make", "base", seconds=600)
    return cluster


@pytest.fixture(params=KINDS)
def owner(request: pytest.FixtureRequest, base: Cluster, tmp_path: Path) -> Owner:
    return Owner(cloned.clone(tmp_path / "repository", request.param), base)


@pytest.fixture
def namespaces(base: Cluster) -> Iterator[list[str]]:
    """The namespaces that a test makes, which are gone after it: the next repository may have the same name."""
    made: list[str] = []
    yield made
    base.kubectl("delete", "namespace", "--ignore-not-found", *made, seconds=180)


def test_a_repository_as_cloned_is_scheduled_by_the_commands_that_init_prints(
    owner: Owner, namespaces: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(owner.folder)
    # What lies in the folder of many a clone.
    (owner.folder / ".env").write_text(f"API_TOKEN={SECRET}\n")
    cloned.git(owner.folder, "config", "remote.origin.url", f"https://ann:{SECRET}@example.org/shop.git")
    began = time.monotonic()

    build, install = steps(owner.dbtpod("init"))
    image = built(owner, build)
    name = image.partition(":")[0]
    namespaces.append(name)
    owner.type(on_kind(install, REPO))
    release = Release(owner.cluster, name, full_name=f"{name}-dbtpod")
    run = release.prefect.completed(f"dbt/{name}-build-daily")
    seconds = time.monotonic() - began
    totals = release.totals(run["id"])
    release.disconnect()

    # As bare dbt builds it, with the project's own profile, in the same image.
    assert totals == bare(image, owner)
    assert totals["ERROR"] == 0 and totals["TOTAL"] >= 5
    assert "Unable to do partial parsing" not in str(run["state"]["message"])
    assert found_in(image, "stg_orders", SECRET) == {"stg_orders"}
    # Nothing of the user's was edited.
    assert {path: text for path, text in tree(owner.folder).items() if path in before} == before
    with capsys.disabled():
        sys.stdout.write(f"\nfrom dbtpod init to a Completed run in {seconds:.0f} s\n")


@pytest.mark.soak
def test_the_next_version_is_installed_over_it_with_no_file_edited(
    base: Cluster, namespaces: list[str], tmp_path: Path
) -> None:
    owner = Owner(cloned.clone(tmp_path / "repository", "a profile as cloned"), base)
    build, install = steps(owner.dbtpod("init"))
    name = built(owner, build).partition(":")[0]
    namespaces.append(name)
    owner.type(on_kind(install, REPO))
    release = Release(owner.cluster, name, full_name=f"{name}-dbtpod")
    release.prefect.completed(f"dbt/{name}-build-daily")
    release.disconnect()
    before = tree(owner.folder)

    following = next_version(tmp_path / "dbtpod")
    command("make", "-C", str(following), "base", seconds=600)
    image = f"{name}:next"
    owner.type(f"docker build --build-arg DBTPOD=dbtpod:{NEXT} --tag {image} .", 600)
    owner.cluster.load(image)
    owner.type(f"{on_kind(install, following)} --set-string image.tag=next")
    run = release.prefect.completed(f"dbt/{name}-build-daily")

    assert "copied from /data/published/000001/" in release.pod_log(run["id"])
    assert tree(owner.folder) == before
    release.disconnect()


NEXT = "0.1.1"


def next_version(folder: Path) -> Path:
    """This repository as the product's next version."""
    now = version("dbtpod")
    for path in command("git", "ls-files").splitlines():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPO / path, folder / path)
    named = {"pyproject.toml": "{}", "charts/dbtpod/Chart.yaml": "{}", "uv.lock": 'name = "dbtpod"\nversion = "{}"'}
    for path, form in named.items():
        text = (folder / path).read_text()
        assert form.format(now) in text
        (folder / path).write_text(text.replace(form.format(now), form.format(NEXT)))
    return folder


def steps(printed: str) -> tuple[str, str]:
    """The commands that build and install, of what `dbtpod init` printed."""
    lines = joined(printed.split("Next:\n")[1])
    build, install = (line for line in lines if line.startswith(("docker build", "helm upgrade")))
    return build, install


def built(owner: Owner, build: str) -> str:
    """Build the image by that command, and bring it to the node; its name."""
    [tag] = re.findall(r"--tag (.+) \.$", build)
    owner.type(build, 600)
    image = owner.type(f"echo {tag}").strip()
    owner.cluster.load(image)
    return image


def found_in(image: str, *texts: str) -> set[str]:
    """Those of the texts that a file of any layer has, or the image's configuration with its history."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
        contents = (content for file in files(saved.stdout) for content in (file, *layer(file)))
        return {text for content in contents for text in texts if text.encode() in content}


def layer(content: bytes) -> Iterator[bytes]:
    """The files of a layer, compressed or not; none where it is something else."""
    if content.startswith(b"\x1f\x8b") or content[257:262] == b"ustar":
        yield from files(BytesIO(content))


def files(stream: IO[bytes] | None) -> Iterator[bytes]:
    """The content of each file in an archive."""
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            if file := archive.extractfile(member) if member.isfile() else None:
                yield file.read()


def on_kind(install: str, product: Path) -> str:
    """That command with the chart of this repository, or of another version of it, on a small cluster."""
    small = f"--values {REPO}/k8s/values-kind.yaml --values"
    return install.replace("CHART", str(product / "charts" / "dbtpod")).replace("--values", small, 1)


def joined(text: str) -> list[str]:
    """The lines, with those that a backslash continues in one."""
    return [line.strip() for line in text.replace("\\\n", " ").splitlines()]


def tree(folder: Path) -> dict[str, str]:
    """The files of the repository that git knows."""
    listed = subprocess.run(["git", "ls-files"], cwd=folder, capture_output=True, text=True, check=True).stdout
    return {path: (folder / path).read_text(errors="replace") for path in listed.splitlines()}


def bare(image: str, owner: Owner) -> dict[str, int]:
    """The totals of a plain `dbt build` in the project's image, by the user's own profile where there is one."""
    project = "transform" if (owner.folder / "transform").is_dir() else "."
    profile = "." if (owner.folder / project / "profiles.yml").is_file() else ".dbtpod/writer"
    script = f"""
cd /opt/dbtpod/{project}
mkdir -p data /var/lib/shop /tmp/work
export DUCKDB_PATH=/tmp/work/warehouse.duckdb DBTPOD_READABLE_PATH=/tmp/work/warehouse.duckdb
dbt build --profiles-dir {profile} --target-path /tmp/target --log-path /tmp/logs
"""
    printed = command("docker", "run", "--rm", "--user", "0", image, "sh", "-c", script, seconds=300)
    [totals] = _DONE.findall(printed)
    return {key: int(count) for key, count in re.findall(r"([A-Z-]+)=(\d+)", totals)}
