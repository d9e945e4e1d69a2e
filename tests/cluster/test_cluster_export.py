"""A generation of 100 MB out of the cluster and in again, by the commands of docs/warehouse.md."""

import os
import shlex
import subprocess
import tarfile
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

import duckdb
import pytest

from dbtpod import transfer
from dbtpod.warehouse.facts import UNKNOWN
from kube import REPO, CommandFailed, command, until
from release import Release

pytestmark = pytest.mark.cluster

DOCS = (REPO / "docs" / "warehouse.md").read_text()


def documented(words: str) -> str:
    """The command of the docs that has these words in it."""
    [line] = {line for line in DOCS.splitlines() if line.startswith("kubectl") and words in line}
    return line


def typed(release: Release, folder: Path, line: str) -> str:
    """Run a line of the docs as a person does in a shell, with the pod's namespace and a dbtpod at hand."""
    line = line.replace("-n dbtpod", f"-n {release.namespace}")
    path = f"{REPO / '.venv' / 'bin'}:{os.environ['PATH']}"
    return command(
        *("sh", "-c", f"cd {shlex.quote(str(folder))} && {line}"),
        seconds=300,
        KUBECONFIG=str(release.cluster.kubeconfig),
        PATH=path,
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DuckDB file of 100 MB that no compression makes smaller."""
    file = tmp_path_factory.mktemp("large") / "large.duckdb"
    with duckdb.connect(file) as connection:
        connection.execute("CREATE TABLE noise AS SELECT uuid() AS id, random() AS r FROM range(4_500_000)")
    assert file.stat().st_size > 100_000_000
    return file


@pytest.fixture(scope="module")
def shell(warehouse: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The pod that the docs say how to make; afterwards readers see again what they saw before."""
    folder, before = tmp_path_factory.mktemp("shell"), warehouse.generation()
    typed(warehouse, folder, documented("create job warehouse"))
    typed(warehouse, folder, documented("wait job/warehouse"))
    yield warehouse
    if warehouse.generation() != before:
        dbtpod(warehouse, "generations", "rollback", str(int(before)))
    typed(warehouse, folder, documented("delete job warehouse"))


def dbtpod(release: Release, *arguments: str) -> str:
    return release.kubectl("exec", "job/warehouse", "--", "dbtpod", *arguments)


@pytest.fixture(scope="module")
def brought(shell: Release, large: Path) -> str:
    """The large file as the generation that readers see: its number."""
    said = typed(shell, large.parent, documented("dbtpod import - <").replace("shop.tar", large.name))
    assert "Readers now see generation" in said
    return shell.generation()


@pytest.fixture(scope="module")
def exported(shell: Release, brought: str, large: Path) -> Path:
    typed(shell, large.parent, documented("dbtpod export >"))
    return large.parent / "shop.tar"


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def digest_there(release: Release) -> str:
    return release.kubectl(
        "exec", "job/warehouse", "--", "sha256sum", "/data/published/current/warehouse.duckdb"
    ).split()[0]


def hidden(release: Release) -> list[str]:
    """What an import that goes on, or was killed, has beside the generations."""
    names = release.kubectl("exec", "job/warehouse", "--", "ls", "-A", "/data/published").split()
    return [name for name in names if name.startswith(".")]


def test_a_duckdb_file_of_100_mb_becomes_what_readers_see_byte_for_byte(
    shell: Release, brought: str, large: Path
) -> None:
    assert digest_there(shell) == digest(large)
    assert hidden(shell) == []


def test_it_comes_out_again_byte_for_byte_and_tar_reads_it(exported: Path, large: Path, tmp_path: Path) -> None:
    assert transfer.examine(str(exported))[1] == []
    with tarfile.open(exported) as archive:
        archive.extract("warehouse.duckdb", tmp_path, filter="data")
    assert digest(tmp_path / "warehouse.duckdb") == digest(large)


def test_what_came_out_goes_in_again_as_the_next_generation(
    shell: Release, brought: str, exported: Path, large: Path
) -> None:
    said = typed(shell, exported.parent, documented("dbtpod import - <"))

    assert f"import of {int(brought)} by import" in said
    assert UNKNOWN not in said
    assert shell.generation() > brought
    assert digest_there(shell) == digest(large)
    assert "is whole" in dbtpod(shell, "generations", "check")


def test_a_stream_that_is_cut_is_refused_and_readers_see_what_they_saw(shell: Release, exported: Path) -> None:
    before = shell.generation()
    whole = exported.read_bytes()
    cut = exported.with_name("cut.tar")

    for size in (len(whole) - 1500, len(whole) // 2, 1000, 0):
        cut.write_bytes(whole[:size])
        with pytest.raises(CommandFailed, match=r"is no whole export|is empty"):
            typed(shell, exported.parent, documented("dbtpod import - <").replace("shop.tar", cut.name))
        assert shell.generation() == before
        assert hidden(shell) == []


def test_a_kubectl_that_is_killed_halfway_brings_nothing_and_leaves_nothing(shell: Release, exported: Path) -> None:
    before = shell.generation()
    argv = ["kubectl", "-n", shell.namespace, "exec", "-i", "job/warehouse", "--", "dbtpod", "import", "-"]
    given = os.environ | {"KUBECONFIG": str(shell.cluster.kubeconfig)}

    with subprocess.Popen(argv, env=given, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as sending:
        assert sending.stdin
        sending.stdin.write(exported.read_bytes()[:50_000_000])
        sending.stdin.flush()
        until(lambda: hidden(shell), 60, "the import's beginning")
        sending.kill()

    until(lambda: not hidden(shell), 90, "the import's end")
    assert shell.generation() == before


def test_an_export_that_is_cut_on_its_way_is_not_taken_for_a_whole_one(
    shell: Release, exported: Path, tmp_path: Path
) -> None:
    line = documented("dbtpod export >").replace("dbtpod export", "sh -c 'dbtpod export | head -c 60000000'")

    with pytest.raises(CommandFailed, match="is no whole export"):
        typed(shell, tmp_path, line)

    assert (tmp_path / "shop.tar").stat().st_size <= 60_000_000


def test_the_pod_has_no_token_and_reaches_neither_prefect_nor_kubernetes(shell: Release) -> None:
    [found] = shell.pods("warehouse")
    script = "import socket; socket.create_connection(('dbtpod-server', 4200), 3)"

    assert "kube-api-access" not in str(found)
    with pytest.raises(CommandFailed, match=r"TimeoutError|timed out"):
        shell.kubectl("exec", "job/warehouse", "--", "python", "-c", script)
