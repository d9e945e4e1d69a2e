"""A generation taken out and brought in again: whole, or not at all."""

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

import volume_damage as damaged
import warehouse
from dbtpod import cli, transfer
from dbtpod.errors import ExportUnusable
from dbtpod.warehouse import archive, intake
from dbtpod.warehouse.archive import Header, Source
from dbtpod.warehouse.export import Pipe
from dbtpod.warehouse.warehouse import DuckDBFile
from dying import dies_at, twins
from warehouse import LOG

DATA = Path(__file__).parents[2] / "support" / "data"

# Runs `dbtpod`: its exit code, and all that it says.
Say = Callable[..., tuple[int, str]]


@pytest.fixture
def kept(tmp_path: Path) -> DuckDBFile:
    """A volume beside what else a test has in its folder."""
    (tmp_path / "kept").mkdir()
    return warehouse.new(tmp_path / "kept")


@pytest.fixture
def other(tmp_path: Path) -> DuckDBFile:
    """Another volume, with a build of its own."""
    (tmp_path / "other").mkdir()
    kept = warehouse.new(tmp_path / "other")
    warehouse.build(kept, 7, "other run")
    return kept


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    def run(kept: DuckDBFile, *arguments: str | Path) -> tuple[int, str]:
        for name, value in environment(kept, tmp_path).items():
            monkeypatch.setenv(name, value)
        code = cli.main([str(each) for each in arguments])
        out, err = capfd.readouterr()
        return code, out + err

    return run


def environment(kept: DuckDBFile, folder: Path) -> dict[str, str]:
    project = folder / "project"
    project.mkdir(exist_ok=True)
    (project / "dbt_project.yml").touch()
    return {"DUCKDB_PATH": str(kept.volume.database), "DBT_PROJECT_DIR": str(project)}


def start(kept: DuckDBFile, folder: Path, *arguments: str, **how: int) -> subprocess.Popen[bytes]:
    """Start `dbtpod` beside the test, as the end of a pipe."""
    command = [Path(sys.executable).with_name("dbtpod"), *arguments]
    given = os.environ | environment(kept, folder)
    return subprocess.Popen(command, env=given, stderr=subprocess.PIPE, **how)


def generation(kept: DuckDBFile) -> dict[str, bytes]:
    """Every file of the current generation, but for the facts, which are this warehouse's own."""
    folder = kept.volume.current.resolve()
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.name != "generation.json"}


def until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_behind(kept: DuckDBFile) -> list[str]:
    return [path.name for path in kept.volume.root.rglob(".*")]


@pytest.fixture
def exported(kept: DuckDBFile, artifacts: tuple[Path, ...], tmp_path: Path, say: Say) -> Path:
    """An export of the second of two builds."""
    warehouse.build(kept, 1)
    warehouse.build(kept, 2, "quick-fox", artifacts)
    code, said = say(kept, "export", "current", tmp_path / "shop.tar")
    assert code == 0, said
    return tmp_path / "shop.tar"


# ---- whole


def test_what_was_exported_is_the_next_generation_where_it_is_imported_byte_for_byte(
    kept: DuckDBFile, exported: Path, other: DuckDBFile, say: Say
) -> None:
    code, said = say(other, "import", exported)

    assert code == 0, said
    assert "Readers now see generation 2: import of 2 by quick-fox." in said
    assert "To undo: dbtpod generations rollback 1" in said
    assert generation(other) == generation(kept)
    assert set(generation(other)) == {"warehouse.duckdb", "manifest.json", "run_results.json"}
    assert warehouse.rows(other.readable) == 2
    [_, made] = other.generations.all()
    assert (made.number, made.base, made.duckdb) == (2, 1, duckdb.__version__)
    assert say(other, "generations", "check") == (0, f"The volume {other.volume.root} is whole: 2 generations.\n")
    assert left_behind(other) == []


def test_what_lies_deeper_in_a_generations_folder_belongs_to_it(kept: DuckDBFile, tmp_path: Path, say: Say) -> None:
    docs = warehouse.build(kept, 1).database.parent / "docs" / "static"
    docs.mkdir(parents=True)
    (docs / "größe.html").write_text("<html>")
    (docs.parent / ".hidden.tmp").touch()
    say(kept, "export", "1", tmp_path / "shop.tar")

    code, said = say(kept, "import", tmp_path / "shop.tar")

    assert code == 0, said
    assert generation(kept)["docs/static/größe.html"] == b"<html>"
    assert "docs/.hidden.tmp" not in generation(kept)


def test_the_first_build_of_an_empty_volume_can_be_an_import(exported: Path, tmp_path: Path, say: Say) -> None:
    (tmp_path / "empty").mkdir()
    empty = warehouse.new(tmp_path / "empty")

    code, said = say(empty, "import", exported)

    assert code == 0, said
    assert "undo" not in said
    assert warehouse.rows(empty.readable) == 2
    warehouse.build(empty, 3, "next")
    assert empty.generations.current() == 2


def test_an_export_goes_through_a_pipe_and_both_ends_know_when_it_is_done(
    kept: DuckDBFile, other: DuckDBFile, tmp_path: Path
) -> None:
    warehouse.build(kept, 3)

    with start(kept, tmp_path, "export", stdout=subprocess.PIPE) as out:
        with start(other, tmp_path, "import", "-", stdin=out.stdout.fileno(), stdout=subprocess.PIPE) as into:
            out.stdout.close()
            said, _ = into.communicate()
        _, sent = out.communicate()

    assert (out.returncode, into.returncode) == (0, 0), (sent, said)
    assert b"Sent: generation 1, built by run, 0." in sent
    assert b"Readers now see generation 2" in said
    assert generation(other) == generation(kept)


def test_tar_and_sha256sum_read_an_export_too(kept: DuckDBFile, exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()

    subprocess.run(["tar", "-xf", exported, "-C", folder], check=True)
    checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)

    assert checked.returncode == 0, checked.stdout
    assert len(checked.stdout.splitlines()) == 5
    assert warehouse.rows(folder / "warehouse.duckdb") == 2


def test_check_reads_an_export_to_its_end_and_needs_no_volume(
    exported: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DUCKDB_PATH", "DBT_PROJECT_DIR"):
        monkeypatch.delenv(name)

    assert cli.main(["import", "--check", str(exported)]) == 0
    assert "is a whole export: generation 2 of warehouse.duckdb, 4 files, 0." in capfd.readouterr().out
    exported.write_bytes(exported.read_bytes()[:-2000])
    assert cli.main(["import", "--check", str(exported)]) == 1
    assert "was cut or damaged on its way" in capfd.readouterr().err


def test_a_duckdb_file_as_it_is_becomes_a_generation(kept: DuckDBFile, other: DuckDBFile, say: Say) -> None:
    warehouse.build(kept, 4)
    file = kept.readable.resolve()

    code, said = say(other, "import", file)

    assert code == 0, said
    assert "Readers now see generation 2: import." in said
    assert other.readable.read_bytes() == file.read_bytes()
    assert say(other, "import", "--check", file)[0] == 0


@pytest.mark.parametrize(
    "size", [100_000_001, pytest.param(9_000_000_001, marks=pytest.mark.soak, id="more than tar's own 8 GiB")]
)
def test_a_large_file_passes_in_pieces(tmp_path: Path, size: int) -> None:
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(size - 1)
        sparse.seek(size - 1)
        sparse.write(b"!")
    reading, writing = os.pipe()
    tracemalloc.start()

    def send() -> None:
        pipe = Pipe(writing)
        with file.open("rb") as opened:
            archive.write(pipe.send, Header("large", 1, size), {"large": opened}, 0)
        os.close(writing)

    sender = threading.Thread(target=send)
    sender.start()
    with io.FileIO(reading) as opened, Path(os.devnull).open("wb") as nowhere:
        received = archive.read(Source("pipe", opened), lambda _: None, lambda _: nowhere)
    sender.join()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert received == (Header("large", 1, size), ["large"])
    assert most < 16_000_000


def test_the_sender_waits_for_what_is_on_its_way_and_no_longer_than_its_receiver_lives() -> None:
    reading, writing = os.pipe()
    pipe = Pipe(writing)
    pipe.send(bytes(40_000))

    started = time.monotonic()
    pipe.wait(0.2)
    waited = time.monotonic() - started
    os.close(reading)
    pipe.wait(3600)

    assert pipe.seconds_on_the_way() == pytest.approx(0.01)
    assert waited >= 0.2
    os.close(writing)


def test_what_goes_into_a_file_is_not_waited_for(tmp_path: Path) -> None:
    with (tmp_path / "shop.tar").open("wb") as file:
        pipe = Pipe(file.fileno())
        pipe.send(bytes(40_000))

        assert pipe.seconds_on_the_way() == 0


# ---- other than now


def test_an_export_changes_nothing_and_does_not_wait_for_a_run_that_builds(
    kept: DuckDBFile, tmp_path: Path, say: Say
) -> None:
    warehouse.build(kept, 1)
    with warehouse.alone(kept):
        damaged.begin(kept)
        before = damaged.every_file(kept.volume.root)

        code, said = say(kept, "export", "current", tmp_path / "shop.tar")

        assert code == 0, said
        assert damaged.every_file(kept.volume.root) == before


def test_a_generation_that_is_removed_while_it_is_exported_is_whole(
    kept: DuckDBFile, other: DuckDBFile, tmp_path: Path
) -> None:
    warehouse.build(kept, 1)
    sent = generation(kept)
    with start(kept, tmp_path, "export", "1", stdout=subprocess.PIPE) as out:
        # It has begun; the pipe is full, and the rest is still to be read.
        first = out.stdout.read(10_000)
        for rows in (2, 3, 4, 5):
            warehouse.build(kept, rows)
        assert 1 not in kept.generations.entries()
        (tmp_path / "shop.tar").write_bytes(first + out.stdout.read())

    assert out.returncode == 0
    with tarfile.open(tmp_path / "shop.tar") as tar:
        assert tar.extractfile("warehouse.duckdb").read() == sent["warehouse.duckdb"]
    assert transfer.examine(str(tmp_path / "shop.tar"))[1] == []


def test_an_export_needs_no_right_to_write(kept: DuckDBFile, tmp_path: Path, say: Say) -> None:
    warehouse.build(kept, 1)
    mount = ["mount", "--bind", "-o", "ro", str(kept.volume.root), str(kept.volume.root)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a volume that is read-only needs the right to mount: {mounted.stderr.strip()}")
    try:
        with pytest.raises(OSError, match="Read-only file system"):
            (kept.volume.root / "new").touch()
        with start(kept, tmp_path, "export", stdout=subprocess.PIPE) as out:
            sent, said = out.communicate()
    finally:
        subprocess.run(["umount", str(kept.volume.root)], check=True)

    assert out.returncode == 0, said
    assert len(sent) > len(generation(kept)["warehouse.duckdb"])


def test_an_import_waits_for_the_run_that_builds_and_says_so(
    kept: DuckDBFile, exported: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "LOCK_SECONDS", 0.3)

    with warehouse.alone(kept):
        code, said = say(kept, "import", exported)

    assert code == 1
    assert "shop.tar is whole" in said
    assert "The run 'test' (pod here) has been writing since" in said
    assert kept.generations.current() == 2
    assert left_behind(kept) == []


def test_a_failed_run_that_comes_back_after_an_import_starts_over(kept: DuckDBFile, exported: Path, say: Say) -> None:
    warehouse.check_out(kept, "failed run")
    assert warehouse.is_own(kept, "failed run")

    say(kept, "import", exported)

    assert not warehouse.is_own(kept, "failed run")
    assert warehouse.rows(kept.volume.database) == 2, "its copy stays until then"


def test_an_import_brings_a_backup_where_no_generation_is_whole(kept: DuckDBFile, exported: Path, say: Say) -> None:
    for number in (1, 2):
        damaged.database(number, lambda whole: whole[:5000])(kept)
    kept.volume.current.unlink()

    code, said = say(kept, "import", exported)

    assert code == 0, said
    assert warehouse.rows(kept.readable) == 2
    damaged.build(kept)


# ---- not whole


def cuts(whole: bytes) -> Iterator[int]:
    """Every place that is special, and some that are not."""
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        for member in tar:
            yield from (member.offset + 1, member.offset, member.offset_data, member.offset_data + 1)
            end = member.offset_data + member.size
            yield from (end - 1, end, end + 1)
    yield from range(0, len(whole), 40_009)


def filled_up(whole: bytes) -> Iterator[int]:
    """The bytes between one file's end and the next one's beginning, and those after the last file."""
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        for member in tar:
            end = member.offset_data + member.size
            yield from range(end, len(whole) if member.name == "SHA256SUMS" else end + -end % 512)


def test_an_export_that_is_cut_anywhere_is_refused_and_nothing_is_left(kept: DuckDBFile, exported: Path) -> None:
    whole = exported.read_bytes()
    before = damaged.every_file(kept.volume.published)
    end = whole.rindex(b"  warehouse.duckdb\n") + len(b"  warehouse.duckdb\n")

    for cut in sorted(set(cuts(whole))):
        if cut < end:
            exported.write_bytes(whole[:cut])
            with pytest.raises(ExportUnusable, match=r"is no whole export|is empty|neither an export"):
                transfer_in(kept, exported)

    assert end < len(whole) - 1024, "the last checksum is at the very end, before what tar fills up"
    after = damaged.every_file(kept.volume.published)
    assert after == before


def test_an_export_with_any_byte_changed_is_refused_or_the_byte_means_nothing(kept: DuckDBFile, exported: Path) -> None:
    whole, sent = exported.read_bytes(), generation(kept)
    accepted = set()

    for place in sorted(set(cuts(whole)) - {len(whole)}):
        changed = bytearray(whole)
        changed[place] ^= 0x55
        exported.write_bytes(changed)
        try:
            transfer_in(kept, exported)
            accepted.add(place)
        except ExportUnusable:
            pass
        assert generation(kept) == sent, place
        assert left_behind(kept) == []

    assert accepted <= set(filled_up(whole))


def transfer_in(kept: DuckDBFile, file: Path) -> None:
    with file.open("rb", buffering=0) as opened, intake.receive(kept.volume, Source(file.name, opened)) as received:
        intake.publish(kept.publisher, received, 0, LOG.info)


def packed(folder: Path, **files: bytes) -> Path:
    """Make an export of these files by hand; a name has two underscores where it has a dot."""
    contents = {name.replace("__", "."): text for name, text in files.items()}
    header = {"format": 1, "database": "warehouse.duckdb", "generation": 1, "size": 10**6}
    contents = {"export.json": json.dumps(header).encode()} | contents
    sums = "".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in contents.items())
    path = folder / "packed.tar"
    with tarfile.open(path, "w") as tar:
        for name, text in {**contents, "SHA256SUMS": sums.encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return path


NEWER = gzip.decompress((DATA / "written-by-duckdb-2.0.0.duckdb.gz").read_bytes())
FOREIGN = {"format": 1, "database": "shop.duckdb", "generation": 1, "size": 1}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: written(folder, b""), "is empty: what was to send it sent nothing"),
        (lambda folder: written(folder, b"hello"), "is neither an export of dbtpod nor a DuckDB file"),
        (lambda folder: written(folder, gzip.compress(b"tar")), "is compressed. Import it so: gzip -dc FILE"),
        (lambda folder: written(folder, NEWER), r"packed.tar was written by a newer DuckDB than the \d.* here"),
        (lambda folder: packed(folder, warehouse__duckdb=NEWER), "packed.tar was written by a newer DuckDB"),
        (lambda folder: packed(folder, warehouse__duckdb=b"garbage"), "DuckDB .* cannot open .*packed.tar"),
        (lambda folder: packed(folder, manifest__json=b"{}"), "holds no warehouse.duckdb"),
        (lambda folder: packed(folder, export__json=json.dumps(FOREIGN).encode()), "is an export of shop.duckdb, and"),
        (
            lambda folder: packed(folder, export__json=b'{"format": 2}'),
            "is an export of a newer dbtpod: its format is 2",
        ),
        (lambda folder: packed(folder, export__json=b"[" * 10**5), "is no whole export"),
        (lambda folder: packed(folder, export__json=b'{"format": 1}'), "is no whole export"),
        (lambda folder: packed(folder, **{"../../evil": b"x"}), "is no whole export"),
        (lambda folder: packed(folder, **{"/tmp/evil": b"x"}), "is no whole export"),
        (lambda folder: packed(folder, big=bytes(10**6 + 1)), "is no whole export"),
        (lambda folder: anything(folder), "is a tar file, but no export of dbtpod"),
        (lambda folder: folder / "missing.tar", "missing.tar cannot be read: No such file or directory"),
        (lambda folder: folder, "cannot be read: Is a directory"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_one_plain_sentence(
    kept: DuckDBFile, tmp_path: Path, say: Say, make: Callable[[Path], Path], said: str
) -> None:
    (tmp_path / "in").mkdir()
    file = make(tmp_path / "in")
    warehouse.build(kept, 1)

    code, text = say(kept, "import", file)

    assert code == 1
    assert re.search(said, text), text
    assert len(text.splitlines()) == 1, text
    assert kept.generations.entries().keys() == {1}
    assert left_behind(kept) == []


def written(folder: Path, content: bytes) -> Path:
    (folder / "packed.tar").write_bytes(content)
    return folder / "packed.tar"


def anything(folder: Path) -> Path:
    with tarfile.open(folder / "packed.tar", "w") as tar:
        tar.add(__file__, "notes.txt")
    return folder / "packed.tar"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: whole[:-1000], "is no whole DuckDB file|cannot open|was cut"),
        (lambda whole: whole[:5000], "cannot open"),
        (lambda whole: flipped(whole, 300_000), "is damaged: .*checksum"),
    ],
)
def test_a_duckdb_file_that_is_cut_or_damaged_is_refused(
    kept: DuckDBFile, tmp_path: Path, say: Say, damage: Callable[[bytes], bytes], said: str
) -> None:
    warehouse.build(kept, 200_000)
    file = tmp_path / "shop.duckdb"
    file.write_bytes(damage(kept.readable.read_bytes()))

    code, text = say(kept, "import", file)

    assert code == 1
    assert re.search(f"Not imported: .*{said}", text), text
    assert "shop.duckdb" in text
    assert kept.generations.entries().keys() == {1}
    assert say(kept, "import", "--check", file)[0] == 1


def flipped(whole: bytes, place: int) -> bytes:
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


# ---- ended on the way


def test_a_receiver_that_ends_early_is_no_success_for_the_sender(kept: DuckDBFile, tmp_path: Path) -> None:
    warehouse.build(kept, 1)
    with start(kept, tmp_path, "export", stdout=subprocess.PIPE) as out:
        out.stdout.read(1000)
        out.stdout.close()
        said = out.stderr.read()

    assert out.returncode == 1
    assert b"The receiver ended after" in said
    assert b"Traceback" not in said


@pytest.mark.slow
def test_whatever_step_of_an_import_a_process_dies_at_readers_see_one_whole_build(
    kept: DuckDBFile, exported: Path, memory: Path
) -> None:
    kept = warehouse.new(kept.volume.root, keep=2)
    warehouse.build(kept, 3)
    seen = []

    for step, twin in twins(kept, memory):
        finished = dies_at(step, lambda twin=twin: transfer_in(twin, exported))

        seen.append(warehouse.rows(twin.readable))
        assert seen[-1] in (3, 2), step
        for one in twin.generations.all():
            assert one.database.stat().st_size == one.size, step
            assert one.number < 4 or warehouse.rows(one.database) == 2, step
        with warehouse.alone(twin):
            damaged.begin(twin, "next")
        assert left_behind(twin) == [], step
        if finished:
            break

    assert seen == sorted(seen, reverse=True), "once the import is seen, it stays"
    assert seen.count(3) > 20
    assert seen.count(2) > 3


def test_what_a_killed_import_leaves_goes_with_the_next_run_and_with_the_next_import(
    kept: DuckDBFile, exported: Path, tmp_path: Path, say: Say
) -> None:
    for clean in (lambda: damaged.build(kept), lambda: say(kept, "import", exported)):
        with start(kept, tmp_path, "import", "-", stdin=subprocess.PIPE) as into:
            into.stdin.write(exported.read_bytes()[:200_000])
            into.stdin.flush()
            until(lambda: list(kept.volume.published.glob(".import-*.tmp/*")), 30)
            into.kill()

        assert len(left_behind(kept)) == 2
        clean()
        assert left_behind(kept) == []


def test_a_run_that_builds_meanwhile_leaves_an_import_alone(kept: DuckDBFile, exported: Path, tmp_path: Path) -> None:
    whole = exported.read_bytes()
    with start(kept, tmp_path, "import", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as into:
        into.stdin.write(whole[:200_000])
        into.stdin.flush()
        until(lambda: list(kept.volume.published.glob(".import-*.tmp/*")), 30)
        with warehouse.alone(kept):
            damaged.begin(kept)
        warehouse.build(kept, 5)
        said, wrong = into.communicate(whole[200_000:])

    assert into.returncode == 0, wrong
    assert b"Readers now see generation 4: import of 2" in said
    assert warehouse.rows(kept.readable) == 2
    assert left_behind(kept) == []


def test_two_imports_at_once_are_two_generations(kept: DuckDBFile, exported: Path, tmp_path: Path) -> None:
    both = [start(kept, tmp_path, "import", str(exported), stdout=subprocess.PIPE) for _ in range(2)]

    assert [one.wait() for one in both] == [0, 0], [one.stderr.read() for one in both]

    assert kept.generations.entries().keys() >= {3, 4}
    assert kept.generations.current() == 4
