"""Backups in a real S3, by the commands that people and the chart's CronJobs type."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

import s3
import warehouse
from dbtpod import cli
from dbtpod.backup import place, store
from dbtpod.errors import BackupUnusable
from dbtpod.warehouse.warehouse import DuckDBFile
from s3 import S3
from waiting import until

pytestmark = pytest.mark.xdist_group("s3")

# Runs `dbtpod`: its exit code, and all that it says.
Say = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3.running() as found:
        yield found


@pytest.fixture(autouse=True)
def here(server: S3, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a folder of its own in the bucket."""
    for name, value in server.environment(f"test/{request.node.name.split('[')[0]}").items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Say:
    def run(*arguments: str) -> tuple[int, str]:
        code = cli.main(arguments)
        out, err = capfd.readouterr()
        return code, out + err

    return run


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DuckDBFile:
    return warehouse.of_commands(tmp_path / "kept", monkeypatch)


def build_large(kept: DuckDBFile, megabytes: int) -> None:
    """Publish a build of which each row is random, so that its file is as large as that."""
    warehouse.check_out(kept)
    warehouse.write(kept, 3)
    with duckdb.connect(kept.volume.database) as connection:
        # DuckDB takes a process without a file for a person's, and shows how far it is.
        connection.execute("SET enable_progress_bar = false")
        connection.execute(
            f"CREATE TABLE large AS SELECT hash(range) AS a, hash(range + 1e9) AS b FROM range({megabytes * 62_500})"
        )
    warehouse.publish_as(kept)


def test_a_build_of_many_parts_goes_to_s3_and_comes_back_into_an_empty_volume(
    kept: DuckDBFile, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_large(kept, 40)
    assert kept.readable.stat().st_size > 4 * store.PIECE

    code, said = say("backup", "run")
    assert (code, "Backed up: generation 1" in said) == (0, True), said
    code, said = say("backup", "run")
    assert (code, "All 1 that are kept here were in s3://backups/test/" in said) == (0, True), said
    code, said = say("backup", "check")
    assert (code, "3 tables with the rows they had." in said) == (0, True), said
    other = warehouse.of_commands(tmp_path / "other", monkeypatch)
    code, said = say("restore")

    assert (code, "Readers now see generation 1, which was 1" in said) == (0, True), said
    assert other.readable.read_bytes() == kept.readable.read_bytes()
    assert warehouse.rows(other.readable) == 3


def test_what_is_too_old_is_removed_and_the_list_marks_what_a_restore_takes(
    kept: DuckDBFile, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBTPOD_BACKUP_KEEP", "2")
    for rows in (1, 2, 3):
        warehouse.build(kept, rows)
        say("backup", "run")

    code, said = say("backup", "list")

    assert code == 0
    [_, older, newest] = said.splitlines()
    assert (older[0], newest[0]) == (" ", "*")
    assert newest.split()[1].endswith("-000003")


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("DBTPOD_BACKUP_BUCKET", "no-such-bucket", "There is no bucket no-such-bucket at http://127.0.0.1:"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "refuses the credentials for s3://backups/test/"),
        ("AWS_ACCESS_KEY_ID", "stranger", "refuses the credentials for s3://backups/test/"),
    ],
)
@pytest.mark.parametrize("command", ["run", "list", "check"])
def test_a_wrong_bucket_or_wrong_credentials_are_one_sentence(
    kept: DuckDBFile, say: Say, monkeypatch: pytest.MonkeyPatch, command: str, variable: str, value: str, says: str
) -> None:
    warehouse.build(kept, 1)
    monkeypatch.setenv(variable, value)

    code, said = say("backup", command)

    assert code == 1
    assert says in said
    assert len(said.splitlines()) == 1


def test_no_credentials_are_one_sentence(kept: DuckDBFile, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    # Not that of this machine, where it is one of a cloud.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", os.environ["DBTPOD_BACKUP_ENDPOINT"])

    code, said = say("backup", "list")

    assert code == 1
    assert said.startswith("There are no credentials for s3://backups/test/")
    assert len(said.splitlines()) == 1


def test_a_server_that_is_away_is_named_after_a_bounded_time(server: S3) -> None:
    away = place.from_environment({**os.environ, "DBTPOD_BACKUP_ENDPOINT": "http://127.0.0.1:9"})
    began = time.monotonic()

    with pytest.raises(BackupUnusable, match=r"http://127\.0\.0\.1:9 does not answer in \d+ tries"):
        store.connect(away, timedelta(seconds=2)).names()

    assert 2 < time.monotonic() - began < 60


def test_a_server_that_is_away_for_some_seconds_is_waited_for(kept: DuckDBFile) -> None:
    with s3.running() as other:
        there = store.connect(place.from_environment({**os.environ, "DBTPOD_BACKUP_ENDPOINT": other.endpoint}))
        other.kill()
        starting = subprocess.Popen(["sh", "-c", f"sleep 5; docker start {other.container}"], stdout=subprocess.DEVNULL)

        assert there.names() == []

        assert starting.wait() == 0


def test_a_server_that_goes_away_in_an_upload_is_one_sentence() -> None:
    with s3.running() as other:
        where = place.from_environment({**os.environ, "DBTPOD_BACKUP_ENDPOINT": other.endpoint})
        there = store.connect(where, timedelta(seconds=2))

        with (
            pytest.raises(BackupUnusable, match=r"does not answer in \d+ tries: .* cannot be written"),
            there.upload("20261123T060019Z-000001", 1) as write,
        ):
            write(bytes(2 * store.PIECE))
            other.kill()
            for _ in range(5):
                write(bytes(store.PIECE))


@pytest.mark.soak
def test_a_full_server_is_named_and_the_older_backup_stays(
    kept: DuckDBFile, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3.running(megabytes=30) as small:
        monkeypatch.setenv("DBTPOD_BACKUP_ENDPOINT", small.endpoint)
        monkeypatch.setenv("DBTPOD_BACKUP_KEEP", "1")
        warehouse.build(kept, 1)
        say("backup", "run")
        build_large(kept, 40)

        code, said = say("backup", "run")

        assert code == 1
        assert (len(said.splitlines()), "has no room for s3://backups" in said) == (2, True), said
        code, said = say("backup", "check")
        assert (code, "can be restored: generation 1" in said) == (0, True), said


def test_a_process_that_dies_in_an_upload_leaves_no_backup_and_the_next_one_uploads(
    server: S3, kept: DuckDBFile, say: Say
) -> None:
    build_large(kept, 150)
    before = set(server.files())
    process = subprocess.Popen([Path(sys.executable).with_name("dbtpod"), "backup", "run"], stderr=subprocess.DEVNULL)
    until(lambda: set(server.files()) - before, 30, "a part in S3")

    process.kill()
    process.wait()

    assert not [path for path in set(server.files()) - before if path.endswith(".json")]
    assert say("backup", "list")[1].startswith("There is no backup in ")
    code, said = say("backup", "run")
    assert (code, "Backed up: generation 1" in said) == (0, True), said
    assert say("backup", "check")[0] == 0
