"""Damage on the volume: what the next run, a reader and the command do about it, and that no row of history is lost."""

import gzip
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import volume_damage as damaged
import warehouse
from dbtpod import cli
from dbtpod.errors import SettingsError, VolumeFull, WarehouseUnusable
from dbtpod.settings import Settings, from_environment
from dbtpod.warehouse import checkout, lock, publish, published, volume
from record import DATA
from volume_damage import Case
from warehouse import LOG

POD_UID = 10001

Say = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return damaged.with_history(warehouse.new(tmp_path_factory.mktemp("pristine")))


@pytest.fixture
def settings(pristine: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A volume with three builds, and what a failed run left; where fsync costs nothing, if there is such a folder."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as folder:
        yield warehouse.twin(pristine, Path(folder) / "volume")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    """Run a command of `generations`; its exit code, and all that it says."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dbt_project.yml").touch()
    monkeypatch.setenv("DBT_PROJECT_DIR", str(tmp_path / "project"))

    def run(settings: Settings, *arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("DUCKDB_PATH", str(settings.duckdb_path))
        code = cli.main(["generations", *arguments])
        out, err = capsys.readouterr()
        return code, out + err

    return run


def cases(*groups: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [case for group in groups for case in group], ids=lambda case: case.name)


# --- the next run that builds ---


@cases(damaged.LOST_LINKS, damaged.FACTS, damaged.OWNERS, damaged.OLD)
def test_the_next_run_puts_right_what_it_can_with_a_warning_and_all_history(
    settings: Settings, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.inflict(settings)

    damaged.build(settings)

    assert damaged.history(settings.readable_path) == [1, 2, 3, 4]
    [warning, *_] = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert case.path in warning
    caplog.clear()
    damaged.build(settings)
    if case not in damaged.OLD:
        assert not [one for one in caplog.records if one.levelno >= logging.WARNING], "once is enough"


@cases(damaged.KINDS)
def test_the_next_run_refuses_what_needs_a_person_and_goes_on_after_the_repair(
    settings: Settings, case: Case, say: Say
) -> None:
    case.inflict(settings)
    before = {path.name for path in settings.published_dir.iterdir()}

    for _ in range(2):
        with pytest.raises(WarehouseUnusable, match=case.path) as caught:
            damaged.build(settings)
        assert "dbtpod generations repair" in str(caught.value)
    assert {path.name for path in settings.published_dir.iterdir()} == before, "a try leaves nothing behind"
    code, said = say(settings, "repair")

    assert (code, case.path in said) == (0, True), said
    damaged.build(settings)
    assert damaged.history(settings.readable_path) == [1, 2, 3, 4]


@cases(damaged.DATABASES)
def test_a_damaged_build_is_refused_before_it_is_copied_with_the_way_back(settings: Settings, case: Case) -> None:
    case.inflict(settings)

    if case.heals:
        damaged.build(settings)
    else:
        with pytest.raises(WarehouseUnusable, match=case.path) as caught:
            damaged.build(settings)
        [number] = re.findall(r"generations rollback (\d+)", str(caught.value))
        publish.roll_back(settings, int(number))
        damaged.build(settings)

    assert damaged.history(settings.readable_path) == [1, 2, 3], "the third build is lost; a new one is the third"


def test_a_cut_build_is_named_with_both_sizes(settings: Settings) -> None:
    path = damaged.generation(settings, 3) / "warehouse.duckdb"
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:9000])

    with pytest.raises(WarehouseUnusable, match=f"000003/warehouse.duckdb has 9000 bytes, and had {whole} when"):
        damaged.build(settings)


def test_a_lost_link_prunes_nothing(settings: Settings) -> None:
    damaged.current(settings).unlink()

    publish.prune(settings)
    publish.prune(settings)

    assert list(published.entries(settings)) == [1, 2, 3]


def test_damaged_builds_do_not_push_out_whole_ones(settings: Settings) -> None:
    for number in (2, 3):
        damaged.database(number, lambda whole: whole[:5000])(settings)
    publish.make_current(settings, 1)

    numbers = [damaged.build(settings) for _ in range(2)]

    assert numbers == [4, 5]
    assert list(published.entries(settings)) == [1, 2, 3, 4, 5]
    assert damaged.history(settings.readable_path) == [1, 2, 3]


def test_where_no_generation_is_whole_nothing_begins_from_nothing_until_a_person_brings_a_backup(
    settings: Settings, tmp_path: Path, say: Say
) -> None:
    backup = shutil.copy(damaged.generation(settings, 2) / "warehouse.duckdb", tmp_path / "backup.duckdb")
    for number in (1, 2, 3):
        damaged.database(number, lambda whole: whole[:5000])(settings)
    damaged.current(settings).unlink()

    with pytest.raises(
        WarehouseUnusable, match=f"copy a whole DuckDB file, such as a backup, to {settings.duckdb_path}"
    ):
        damaged.build(settings)
    code, said = say(settings, "repair")
    assert code == 1
    assert "No generation is whole" in said
    assert list(published.entries(settings)) == [1, 2, 3], "the last copies stay where they are"

    settings.owner_path.unlink()
    shutil.copy(backup, settings.duckdb_path)
    damaged.build(settings)
    assert damaged.history(settings.readable_path) == [1, 2, 3]
    assert [one.run for one in published.generations(settings)][3:] == ["adopted", "run"]


def test_a_link_to_generations_that_are_all_gone_is_not_a_new_volume(settings: Settings) -> None:
    for number in (1, 2, 3):
        shutil.rmtree(damaged.generation(settings, number))

    with pytest.raises(WarehouseUnusable, match="published/current points to 000003, which is no generation here"):
        damaged.build(settings)


def test_only_a_volume_without_generations_is_new_and_the_log_says_that_it_begins_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        damaged.build(warehouse.new(tmp_path))

    assert "Nothing was published on" in caplog.text
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_copy_of_the_link_alone_becomes_a_generation_by_repair(settings: Settings, say: Say) -> None:
    damaged.a_copy_instead_of_the_link(settings)
    for number in (1, 2, 3):
        shutil.rmtree(damaged.generation(settings, number))

    assert say(settings, "repair")[0] == 0

    damaged.build(settings)
    assert damaged.history(settings.readable_path) == [1, 2, 3]


def test_builds_under_another_files_name_are_found_and_named(settings: Settings) -> None:
    settings.duckdb_path.unlink()
    settings.owner_path.unlink()
    other = warehouse.new(settings.volume)
    object.__setattr__(other, "duckdb_path", settings.duckdb_path.with_name("shop.duckdb"))

    with pytest.raises(WarehouseUnusable, match=r"holds no shop.duckdb, but warehouse.duckdb: DUCKDB_PATH has another"):
        damaged.build(other)


def test_a_lost_link_does_not_fall_behind_a_build_of_a_newer_duckdb(settings: Settings) -> None:
    newer = gzip.decompress((DATA / "written-by-duckdb-2.0.0.duckdb.gz").read_bytes())
    damaged.database(3, lambda _: newer)(settings)
    damaged.facts(3, damaged.changed(size=len(newer)))(settings)
    damaged.current(settings).unlink()

    with pytest.raises(WarehouseUnusable, match="newer DuckDB than the"):
        damaged.build(settings)


def test_a_number_that_was_set_aside_does_not_come_back(settings: Settings, say: Say) -> None:
    damaged.database(3, lambda whole: whole[:5000])(settings)
    assert say(settings, "repair")[0] == 0
    assert list(published.entries(settings)) == [1, 2]

    assert damaged.build(settings) == 4


def test_a_working_copy_whose_owner_is_not_known_is_set_aside_and_not_lost(settings: Settings) -> None:
    settings.duckdb_path.unlink()
    with duckdb.connect(settings.duckdb_path) as connection:
        connection.execute("CREATE TABLE precious AS SELECT 42 AS answer")
    settings.owner_path.write_text("{{{")

    damaged.build(settings)

    [kept] = settings.set_aside_dir.glob("*-work-warehouse.duckdb")
    with duckdb.connect(kept, read_only=True) as connection:
        assert connection.execute("FROM precious").fetchall() == [(42,)]


def test_a_file_brought_after_a_published_build_becomes_a_generation(settings: Settings, tmp_path: Path) -> None:
    damaged.build(settings)
    shutil.copy(damaged.generation(settings, 2) / "warehouse.duckdb", settings.duckdb_path)

    damaged.build(settings)

    assert damaged.history(settings.readable_path) == [1, 2, 3]
    assert "adopted" in [one.run for one in published.generations(settings)]


def test_a_link_where_the_working_copy_belongs_is_refused_and_not_published(settings: Settings, tmp_path: Path) -> None:
    shutil.move(settings.duckdb_path, tmp_path / "elsewhere.duckdb")
    settings.duckdb_path.symlink_to(tmp_path / "elsewhere.duckdb")

    with pytest.raises(WarehouseUnusable, match=r"is a link to .*elsewhere.duckdb.*cp --remove-destination"):
        damaged.build(settings)


# --- readers ---


@cases(damaged.LOST_LINKS, damaged.FACTS, damaged.OWNERS, damaged.OLD, damaged.KINDS)
def test_a_reader_reads_a_whole_build_whatever_is_damaged(settings: Settings, case: Case) -> None:
    case.inflict(settings)
    before = _everything(settings.volume)

    readable = volume.for_reading(settings, LOG).readable_path

    assert damaged.history(readable)[:2] == [1, 2]
    assert _everything(settings.volume) == before, "a reader changes nothing"


@cases(damaged.DATABASES)
def test_a_reader_of_a_damaged_build_gets_its_name_and_the_way_back(settings: Settings, case: Case) -> None:
    case.inflict(settings)

    if case.heals:
        assert damaged.history(volume.for_reading(settings, LOG).readable_path) == [1, 2]
    else:
        with pytest.raises(WarehouseUnusable, match=rf"(?s){case.path} .*generations rollback 2"):
            volume.for_reading(settings, LOG)


def _everything(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in folder.rglob("*")}


# --- the command ---


def test_check_of_a_whole_volume_says_so(settings: Settings, say: Say) -> None:
    before = _everything(settings.volume)

    assert say(settings, "check") == (0, f"The volume {settings.volume} is whole: 3 generations.\n")
    assert say(settings, "repair") == (0, "There was nothing to repair.\n")
    assert _everything(settings.volume).keys() == before.keys()


@cases(damaged.LOST_LINKS, damaged.FACTS, damaged.OWNERS, damaged.OLD, damaged.KINDS, damaged.DATABASES)
def test_check_names_each_damage_on_a_line_repair_puts_it_right_and_no_database_is_lost(
    settings: Settings, case: Case, say: Say
) -> None:
    case.inflict(settings)
    files = _databases(settings.volume)

    code, said = say(settings, "check")
    assert code == 1
    assert [line for line in said.splitlines() if case.path in line], said
    assert say(settings, "list")[0] == 0
    code, said = say(settings, "repair")
    assert code == 0, said
    assert case.path in said

    assert _databases(settings.volume) == files
    code, said = say(settings, "check")
    assert code == 0, said
    damaged.build(settings)
    assert damaged.history(settings.readable_path)[:3] == [1, 2, 3]


def _databases(folder: Path) -> list[int]:
    return sorted(path.stat().st_ino for path in folder.rglob("*.duckdb") if path.is_file() and not path.is_symlink())


def test_a_newer_versions_key_is_no_damage(settings: Settings, say: Say) -> None:
    damaged.facts(3, damaged.changed(lineage={"new": True}))(settings)

    assert say(settings, "check")[0] == 0
    damaged.build(settings)
    assert damaged.history(settings.readable_path) == [1, 2, 3, 4]


def test_list_shows_what_the_folder_says_where_facts_are_damaged(settings: Settings, say: Say) -> None:
    damaged.facts(2, damaged.content(b"{"))(settings)
    damaged.current(settings).unlink()

    code, said = say(settings, "list")

    assert code == 0
    assert re.search(r"^  2 .*DuckDB unknown +from nothing +unknown$", said, re.MULTILINE)
    assert "000002/generation.json is not JSON." in said
    assert "published/current is missing." in said


def test_several_damages_at_once_are_all_repaired(settings: Settings, say: Say) -> None:
    for inflict in (
        damaged.database(3, lambda whole: whole[:5000]),
        damaged.facts(2, damaged.content(b"")),
        damaged.a_copy_instead_of_the_link,
        lambda settings: damaged.becomes_a_folder(settings.lock_path),
        lambda settings: damaged.becomes_a_file(settings.runs_dir),
        damaged.owner(damaged.content(b"")),
    ):
        inflict(settings)

    code, said = say(settings, "repair")

    assert code == 0, said
    assert len(list(settings.set_aside_dir.iterdir())) == 6, said
    damaged.build(settings)
    assert damaged.history(settings.readable_path) == [1, 2, 3]


def test_repair_waits_for_a_run_that_builds(settings: Settings, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged.current(settings).unlink()
    monkeypatch.setattr(volume.repair, "__defaults__", (0.2,))

    with warehouse.alone(settings):
        code, said = say(settings, "repair")

    assert code == 1
    assert "'test' (pod here) has been writing since" in said
    assert not damaged.current(settings).is_symlink()


# --- garbage ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    st.sampled_from(["number", "run", "at", "size", "base", "dbtpod", "duckdb", "new"]),
    JSON | st.sampled_from([3, "2026-01-01", "2026-01-01T00:00:00+00:00", "a\nb", "\ud800", -1, 10**30]),
)
GARBAGE = (
    st.binary(max_size=50)
    | JSON.map(lambda value: json.dumps(value).encode())
    | FIELDS.map(lambda value: json.dumps(value).encode())
)


@given(facts=GARBAGE, owner=GARBAGE)
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_whatever_the_small_files_hold_nothing_fails_but_for_a_size_that_is_another(
    settings: Settings, say: Say, facts: bytes, owner: bytes
) -> None:
    """A size that is a whole number above 0, and not the file's, is the one word that must count."""
    path = damaged.generation(settings, 3) / "generation.json"
    path.write_bytes(facts)
    if settings.duckdb_path.exists():
        settings.owner_path.write_bytes(owner)
    size = path.with_name("warehouse.duckdb").stat().st_size
    counts = published.generations(settings)[2].size != size

    assert say(settings, "list")[0] == 0
    say(settings, "check")
    if counts:
        with pytest.raises(WarehouseUnusable, match="when it was published"), warehouse.alone(settings):
            damaged.begin(settings)
    else:
        with warehouse.alone(settings):
            damaged.begin(settings)
        assert damaged.history(settings.duckdb_path) == [1, 2, 3]


# --- volumes that may not be written ---


@pytest.fixture
def read_only(pristine: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The volume, mounted read-only."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    one = warehouse.twin(pristine, folder / "volume")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield one
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_on_a_volume_that_is_read_only_readers_read_and_check_checks(
    read_only: Settings, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert damaged.history(volume.for_reading(read_only, LOG).readable_path) == [1, 2, 3]
    assert not read_only.reader_runs_dir().is_relative_to(read_only.volume)
    assert say(read_only, "check")[0] == 0
    assert say(read_only, "list")[0] == 0
    assert say(read_only, "diff", "1", "2")[0] == 0
    monkeypatch.setenv("DUCKDB_PATH", str(read_only.duckdb_path))
    from_environment(writes=False)


def test_a_run_that_builds_on_a_volume_that_is_read_only_gets_that_cause(
    read_only: Settings, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUCKDB_PATH", str(read_only.duckdb_path))
    monkeypatch.setenv("DBT_PROJECT_DIR", str(Path(__file__).parents[2] / "dbt_project"))

    with pytest.raises(SettingsError, match="is mounted read-only") as caught:
        from_environment()

    assert "fsGroup" not in str(caught.value)
    code, said = say(read_only, "repair")
    assert code == 1
    assert "is mounted read-only" in said


@pytest.fixture
def foreign(pristine: Settings) -> Iterator[Settings]:
    """The volume, owned by root or another user, which a pod's user may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        one = warehouse.twin(pristine, Path(name) / "volume")
        for path in [one.volume, *one.volume.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() else 0o444)
        yield one
        for path in [one.volume, *(path for path in one.volume.rglob("*") if path.is_dir())]:
            path.chmod(0o755)


def as_pod(action: Callable[[], object]) -> str:
    """Do it as a pod's user; its result as text, or the error."""
    if os.getuid():
        return str(action())
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(POD_UID)
            os.setuid(POD_UID)
            answer = str(action())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        answer = file.read()
    os.waitpid(child, 0)
    return answer


def test_on_a_volume_of_another_user_readers_read(foreign: Settings) -> None:
    answer = as_pod(
        lambda: (
            damaged.history(volume.for_reading(foreign, LOG).readable_path),
            foreign.reader_runs_dir().is_relative_to(foreign.volume),
        )
    )

    assert answer == "([1, 2, 3], False)"


def test_a_run_that_builds_on_a_volume_of_another_user_gets_the_owner_and_what_to_set(foreign: Settings) -> None:
    environment = {
        "DUCKDB_PATH": str(foreign.duckdb_path),
        "DBT_PROJECT_DIR": str(Path(__file__).parents[2] / "dbt_project"),
    }

    answer = as_pod(lambda: from_environment(environment))

    assert "may not write to" in answer or os.getuid()
    assert re.search(
        r"uid \d+ \(gid \d+\) may not write to .*: it belongs to uid \d+ and gid \d+, with mode 0555", answer
    )
    assert "podSecurityContext.fsGroup" in answer
    assert "read-only" not in answer


@pytest.mark.parametrize("name", ["work", "published", "writer.lock", "work/warehouse.duckdb", "published/000003"])
def test_one_path_of_another_user_is_named_with_the_command_that_helps(foreign: Settings, name: str) -> None:
    if os.getuid():
        pytest.skip("needs the right to give files away")
    for path in [foreign.volume, *foreign.volume.rglob("*")]:
        os.chown(path, POD_UID, POD_UID, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    locked = foreign.volume / name
    os.chown(locked, 0, 0)
    locked.chmod(0o700 if locked.is_dir() else 0o600)

    answer = as_pod(lambda: damaged.build(foreign))

    assert answer.startswith("WarehouseUnusable"), answer
    assert re.search(rf"may not (read|write to) {locked}: it belongs to uid 0 .*chown -R {POD_UID}", answer), answer


def test_a_folder_on_another_filesystem_is_refused(settings: Settings) -> None:
    other = settings.published_dir
    shutil.rmtree(other)
    other.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(other)], capture_output=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    try:
        with pytest.raises(WarehouseUnusable, match="published is on another filesystem than"):
            damaged.build(settings)
    finally:
        subprocess.run(["umount", "-l", str(other)], check=True)


def test_a_full_volume_does_not_stop_a_run_for_the_sake_of_facts(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged.facts(3, damaged.content(b"{"))(settings)
    with monkeypatch.context() as patch, warehouse.alone(settings):
        patch.setattr("dbtpod.warehouse.durable.write_json", _no_room)
        volume.make_ready(settings, LOG)

    assert "No space left on device" in caplog.text
    with pytest.raises(VolumeFull), monkeypatch.context() as patch, warehouse.alone(settings):
        patch.setattr("dbtpod.warehouse.durable.write_json", _no_room)
        checkout.check_out(settings, "run", LOG)


def _no_room(*_: object) -> None:
    raise OSError(28, os.strerror(28))


def test_publishing_needs_the_lock(settings: Settings) -> None:
    certificate_of = publish.Certificate("failed", *publish.identity(settings.duckdb_path))

    with pytest.raises(WarehouseUnusable, match="does not hold"):
        publish.publish(settings, certificate_of, [])
    with pytest.raises(WarehouseUnusable, match="does not hold"):
        lock.check_held(settings.lock_path)
