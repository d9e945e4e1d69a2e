"""Generations in S3 and back; here in a store in memory, and in tests/server/test_backup.py in a real one."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pytest
from obstore.store import MemoryStore

import warehouse
from dbtpod import cli
from dbtpod.backup import main, place, store
from dbtpod.backup.place import Place
from dbtpod.backup.store import Store
from dbtpod.errors import BackupUnusable, SettingsError, WarehouseUnusable
from dbtpod.warehouse.warehouse import DuckDBFile

ENVIRONMENT = {"DBTPOD_BACKUP_BUCKET": "backups", "DBTPOD_BACKUP_PREFIX": "prod/shop"}


@pytest.fixture
def s3() -> Store:
    return Store(Place("backups", "prod/shop", keep=3), MemoryStore())


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DuckDBFile:
    return warehouse.of_commands(tmp_path / "kept", monkeypatch, keep=9)


def back_up(s3: Store) -> list[str]:
    """Run a backup that ends well."""
    lines, wrong = main.run(s3, print)
    assert wrong == []
    return lines


def paths(s3: Store) -> set[str]:
    return {one["path"] for page in obstore.list(s3.objects) for one in page}


def change(s3: Store, path: str, at: int) -> None:
    """Change one byte of an object."""
    text = bytearray(bytes(obstore.get(s3.objects, path).bytes()))
    text[at] ^= 1
    obstore.put(s3.objects, path, bytes(text))


# ---- taken


def test_each_generation_is_uploaded_once_with_its_checksum_and_its_rows(s3: Store, kept: DuckDBFile) -> None:
    warehouse.build(kept, 5, "brave-fox")
    first = back_up(s3)
    warehouse.build(kept, 7)

    second = back_up(s3)

    assert "Backed up: generation 1, built by brave-fox, " in first[0]
    assert [line.startswith("Backed up: generation 2") for line in second] == [True]
    assert [s3.read(name).rows for name in s3.names()] == [
        {"main.customers": rows, "main.orders": rows} for rows in (5, 7)
    ]
    assert back_up(s3) == ["All 2 that are kept here were in s3://backups/prod/shop already."]


def test_a_volume_without_a_build_has_nothing_to_back_up(s3: Store, kept: DuckDBFile) -> None:
    assert "there is nothing to back up" in back_up(s3)[0]
    assert paths(s3) == set()


def test_the_newest_stay_and_what_readers_see_and_none_is_uploaded_to_be_removed(s3: Store, kept: DuckDBFile) -> None:
    for rows in range(1, 6):
        warehouse.build(kept, rows)
    lines = back_up(s3)
    assert [s3.read(name).generation for name in s3.names()] == [3, 4, 5]
    assert len(lines) == 3

    kept.publisher.roll_back(3)
    for rows in (6, 7):
        warehouse.build(kept, rows)
    kept.publisher.roll_back(3)
    lines = back_up(s3)

    assert [s3.read(name).generation for name in s3.names()] == [3, 5, 6, 7]
    assert [line for line in lines if line.startswith("Removed")] == [
        f"Removed, as 3 are kept: {s3_name}." for s3_name in [line.split(": ")[1].rstrip(".") for line in lines[2:]]
    ]
    assert paths(s3) == {"current.json"} | {
        f"{name}/{file}" for name in s3.names() for file in ("export.tar", "backup.json")
    }


def test_a_damaged_generation_is_named_the_others_are_uploaded_and_nothing_is_removed(
    s3: Store, kept: DuckDBFile
) -> None:
    for rows in range(1, 4):
        warehouse.build(kept, rows)
    back_up(s3)
    for rows in (4, 5):
        warehouse.build(kept, rows)
    cut = kept.generations.database(4)
    cut.write_bytes(cut.read_bytes()[:10_000])

    lines, wrong = main.run(s3, print)

    assert len(wrong) == 1
    assert "eneration 4 is damaged" in wrong[0]
    assert [s3.read(name).generation for name in s3.names()] == [1, 2, 3, 5]
    assert not [line for line in lines if line.startswith("Removed")]


def test_an_upload_that_was_cut_off_is_no_backup_and_is_removed_when_it_is_old(s3: Store, kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    back_up(s3)
    obstore.put(s3.objects, "20261123T060019Z-000099/export.tar", b"half")

    assert [s3.read(name).generation for name in s3.names()] == [1]
    now = datetime.now(UTC)
    assert s3.left_behind(now - timedelta(days=1)) == []
    assert s3.left_behind(now + timedelta(seconds=1)) == ["20261123T060019Z-000099"]


def test_nothing_of_an_upload_stays_that_an_error_ended(s3: Store) -> None:
    with pytest.raises(WarehouseUnusable), s3.upload("20261123T060019Z-000099", 1) as write:
        write(bytes(20 << 20))
        raise WarehouseUnusable

    assert paths(s3) == set()


# ---- restored


def test_a_restore_into_an_empty_volume_is_what_was_backed_up(
    s3: Store, kept: DuckDBFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rows in (4, 5):
        warehouse.build(kept, rows, f"run-{rows}")
    back_up(s3)
    other = warehouse.of_commands(tmp_path / "other", monkeypatch, keep=9)

    lines, wrong = main.restore(s3, None, False, print)

    assert wrong == []
    assert lines[0].startswith("Readers now see generation 1, which was 2, built by run-5 at ")
    assert warehouse.rows(other.readable) == 5
    assert other.generations.current() == 1
    # And the next build begins from it.
    warehouse.build(other, 6)
    assert warehouse.rows(other.readable) == 6


def test_a_restore_takes_what_readers_saw_not_a_build_that_was_rolled_back(
    s3: Store, kept: DuckDBFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rows in (4, 5):
        warehouse.build(kept, rows)
    kept.publisher.roll_back(1)
    back_up(s3)
    listed, _ = main.show(s3)
    other = warehouse.of_commands(tmp_path / "other", monkeypatch, keep=9)

    main.restore(s3, None, False, print)

    assert warehouse.rows(other.readable) == 4
    assert [line[0] for line in listed] == [" ", "*", " "]
    # By its name it is there all the same.
    main.restore(s3, s3.names()[-1], True, print)
    assert warehouse.rows(other.readable) == 5


def test_a_volume_with_generations_is_refused_unless_it_may_be_beside_them(s3: Store, kept: DuckDBFile) -> None:
    warehouse.build(kept, 4)
    back_up(s3)
    warehouse.build(kept, 5)

    with pytest.raises(WarehouseUnusable, match=r"has generations already \(1, 2\).*dbtpod restore --beside"):
        main.restore(s3, s3.names()[0], False, print)
    lines, _ = main.restore(s3, s3.names()[0], True, print)

    assert lines[0].startswith("Readers now see generation 3, which was 1")
    assert warehouse.rows(kept.readable) == 4


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (5000, "was damaged on its way: warehouse.duckdb is not what was sent"),
        # In what no reader of a tar file looks at.
        (-1, "its SHA-256 is .* when it was uploaded"),
    ],
)
def test_a_backup_of_which_a_byte_has_changed_is_refused_and_leaves_nothing(
    s3: Store, kept: DuckDBFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, says: str
) -> None:
    warehouse.build(kept, 4)
    back_up(s3)
    change(s3, f"{s3.names()[0]}/export.tar", at)
    other = warehouse.of_commands(tmp_path / "other", monkeypatch, keep=9)

    with pytest.raises(BackupUnusable, match=says):
        main.restore(s3, None, False, print)
    with pytest.raises(BackupUnusable, match=says):
        main.check(s3)

    assert other.generations.current() is None
    assert list(other.volume.published.iterdir()) == []


def test_a_backup_that_was_cut_is_refused(s3: Store, kept: DuckDBFile) -> None:
    warehouse.build(kept, 4)
    back_up(s3)
    path = f"{s3.names()[0]}/export.tar"
    text = bytes(obstore.get(s3.objects, path).bytes())
    obstore.put(s3.objects, path, text[: len(text) // 2])

    with pytest.raises(BackupUnusable, match=r"is damaged: \d+ of its \d+ bytes are there"):
        main.check(s3)


def test_a_name_that_no_backup_has_is_named(s3: Store, kept: DuckDBFile) -> None:
    with pytest.raises(BackupUnusable, match="There is no backup 20261123T060019Z-000007 in s3://backups/prod/shop"):
        main.restore(s3, "20261123T060019Z-000007", False, print)


# ---- checked


def test_the_check_restores_and_counts_and_needs_no_volume(
    s3: Store, kept: DuckDBFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.build(kept, 4)
    back_up(s3)
    monkeypatch.delenv("DUCKDB_PATH")

    lines, wrong = main.check(s3)

    assert wrong == []
    assert "can be restored: generation 1, " in lines[0]
    assert lines[0].endswith("2 tables with the rows they had.")


def test_the_check_fails_where_a_table_has_other_rows_than_it_had(s3: Store, kept: DuckDBFile) -> None:
    warehouse.build(kept, 4)
    back_up(s3)
    path = f"{s3.names()[0]}/backup.json"
    values = json.loads(bytes(obstore.get(s3.objects, path).bytes()))
    values["rows"]["main.orders"] = 5
    obstore.put(s3.objects, path, json.dumps(values).encode())

    with pytest.raises(BackupUnusable, match=r"main\.orders has 4 rows and had 5"):
        main.check(s3)


def test_the_check_fails_where_there_is_no_backup(s3: Store) -> None:
    with pytest.raises(BackupUnusable, match="There is no whole backup in s3://backups/prod/shop yet"):
        main.check(s3)


@pytest.mark.parametrize(
    ("text", "says"), [(b"{}", "is damaged"), (b"no", "is damaged"), (b'{"format": 2}', "of a newer dbtpod")]
)
def test_a_record_that_cannot_be_read_is_named(s3: Store, text: bytes, says: str) -> None:
    obstore.put(s3.objects, "20261123T060019Z-000007/backup.json", text)

    with pytest.raises(BackupUnusable, match=says):
        main.check(s3)


# ---- where


def test_every_wrong_setting_is_named_at_once() -> None:
    wrong = {
        "DBTPOD_BACKUP_BUCKET": "My Bucket",
        "DBTPOD_BACKUP_PREFIX": "/shop",
        "DBTPOD_BACKUP_ENDPOINT": "minio:9000",
        "DBTPOD_BACKUP_REGION": "",
        "DBTPOD_BACKUP_KEEP": "0",
    }

    with pytest.raises(SettingsError) as raised:
        place.from_environment(wrong)

    assert [line.split()[0] for line in str(raised.value).splitlines()] == list(wrong)


def test_a_command_without_a_bucket_says_which_setting_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)

    assert cli.main(["backup", "list"]) == 1

    assert "DBTPOD_BACKUP_BUCKET is not set: give the name of an S3 bucket" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("<Code>NoSuchBucket</Code><Message>m</Message>", "There is no bucket backups at https://s3.example.com"),
        ("<Code>AccessDenied</Code><Message>m</Message>", r"refuses the credentials .* \(AccessDenied: m\)"),
        ("<Code>QuotaExceeded</Code><Message>m</Message>", "has no room for s3://backups/prod/shop"),
        ("Error performing PUT http://169.254.169.254/latest/api/token", "There are no credentials for s3://backups"),
        ("HTTP error: error\nerror: InvalidCertificate(UnknownIssuer)", "certificate of https://s3.* is not trusted"),
        ("after 9 retries, max_retries: 9 - HTTP error: error sending request", "does not answer in 10 tries"),
        ("something else\nmore", "s3://backups/prod/shop cannot be read: something else$"),
    ],
)
def test_what_the_client_says_becomes_one_sentence(said: str, says: str) -> None:
    where = place.from_environment(ENVIRONMENT | {"DBTPOD_BACKUP_ENDPOINT": "https://s3.example.com"})

    with pytest.raises(BackupUnusable, match=says):
        raise BackupUnusable(store.problem(where, "read", said))
