"""A warehouse whose data is in a database server: what is locked, and what a generation holds. No server is needed."""

import multiprocessing
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

import warehouse
from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import health, lock
from dbtpod.warehouse import warehouse as kinds
from dbtpod.warehouse.built import Run
from dbtpod.warehouse.certificate import Certificate
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.lock import Holder
from dbtpod.warehouse.remote import Remote
from warehouse import LOG


def remote(folder: Path, writers: int = 1, keep: int = 3) -> Remote:
    settings = Settings(folder / "work" / "warehouse.duckdb", folder, "remote", writers, keep_generations=keep)
    found = kinds.of(settings)
    assert isinstance(found, Remote)
    return found


def run(name: str) -> Run:
    return Run(name, Holder.here(f"the run {name}"))


def artifacts(folder: Path) -> list[Path]:
    files = [folder / "manifest.json", folder / "run_results.json"]
    for file in files:
        file.write_text("{}")
    return files


def built(kept: Remote, name: str, made: list[Path]) -> Generation:
    with kept.write(run(name), 0, LOG) as build:
        build.check_out()
        return build.publish(Certificate(name), made)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    return tmp_path / "volume"


@pytest.mark.parametrize("writers", [1, 3])
def test_so_many_write_at_once_and_one_more_learns_who_they_are(volume: Path, writers: int) -> None:
    kept = remote(volume, writers)
    with ExitStack() as stack:
        for number in range(writers):
            stack.enter_context(kept.write(run(f"number {number}"), 0, LOG))

        with pytest.raises(WarehouseBusy) as raised, kept.write(run("late"), 0, LOG):
            pass

    assert [f"The run 'the run number {n}'" in str(raised.value) for n in range(writers)] == [True] * writers
    with kept.write(run("late"), 0, LOG):
        pass


def _dies_writing(folder: Path) -> None:
    with remote(folder).write(run("dying"), 0, LOG):
        os._exit(9)


def test_a_writer_that_dies_lets_the_next_one_in(volume: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_dies_writing, args=(volume,))
    process.start()
    process.join()

    with remote(volume).write(run("next"), 0, LOG):
        pass

    assert process.exitcode == 9


def test_a_generation_holds_what_belongs_to_the_build_and_no_database(volume: Path, tmp_path: Path) -> None:
    kept = remote(volume)

    made = [built(kept, name, artifacts(tmp_path)) for name in ("first", "second")]

    assert [(one.number, one.run, one.base, one.is_remote) for one in made] == [
        (1, "first", None, True),
        (2, "second", 1, True),
    ]
    assert {path.name for path in kept.volume.current.iterdir()} == {
        "manifest.json",
        "run_results.json",
        "generation.json",
    }
    assert kept.builds() == made
    assert health.check(kept.publisher) == []
    assert not kept.volume.database.exists()


def test_the_last_generations_are_kept(volume: Path, tmp_path: Path) -> None:
    kept = remote(volume, keep=2)

    for name in "abcd":
        built(kept, name, artifacts(tmp_path))
        os.utime(kept.volume.current, (0, 0), follow_symlinks=False)

    assert [one.run for one in kept.builds()][-2:] == ["c", "d"]
    assert len(kept.builds()) <= 3


def test_a_build_without_a_manifest_is_no_generation(volume: Path, tmp_path: Path) -> None:
    kept = remote(volume)

    with pytest.raises(WarehouseUnusable, match=r"dbt left no manifest\.json in .*nothing was published"):
        built(kept, "run", [tmp_path / "manifest.json"])

    assert kept.builds() == []


def test_a_crash_before_the_link_leaves_the_build_before_and_the_next_run_cleans_up(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = remote(volume)
    built(kept, "good", artifacts(tmp_path))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(Exception, match="No space left"):
        patched.setattr("dbtpod.warehouse.publish.switch", full)
        built(kept, "unlucky", artifacts(tmp_path))
    assert [one.run for one in kept.builds()] == ["good"]
    assert not list(kept.volume.published.glob(".*.tmp"))

    assert built(kept, "next", artifacts(tmp_path)).base == 1


def test_what_a_run_built_is_its_own_until_another_one_begins_to_write(volume: Path) -> None:
    kept = remote(volume)
    with kept.write(run("mine"), 0, LOG) as build:
        build.check_out()
        assert build.obstacle() == ""
    with kept.write(run("mine"), 0, LOG) as build:
        assert build.obstacle() == ""
    with kept.write(run("other"), 0, LOG) as build:
        build.check_out()

    with kept.write(run("mine"), 0, LOG) as build:
        assert build.obstacle() == "another run, other, has begun to write since"
        assert build.take_over("gone") == "another run, other, has begun to write since"
        assert build.take_over("other") == ""
        assert build.obstacle() == ""


def test_where_several_write_at_once_a_run_resumes_although_another_began(volume: Path) -> None:
    kept = remote(volume, writers=2)
    with kept.write(run("mine"), 0, LOG) as mine, kept.write(run("other"), 0, LOG) as other:
        mine.check_out()
        other.check_out()

        assert mine.obstacle() == ""
        assert mine.take_over("earlier") == "another run, other, has begun to write since"


@pytest.fixture
def moved(volume: Path, tmp_path: Path) -> Callable[[], Remote]:
    """A volume with a build in a file, and then one in a server."""

    def move() -> Remote:
        warehouse.build(warehouse.new(volume), 3, "in a file", tuple(artifacts(tmp_path)))
        kept = remote(volume)
        built(kept, "in a server", artifacts(tmp_path))
        return kept

    return move


def test_the_builds_of_a_file_stay_when_the_data_moves_to_a_server(moved: Callable[[], Remote]) -> None:
    kept = moved()

    assert [(one.run, one.is_remote) for one in kept.builds()] == [("in a file", False), ("in a server", True)]
    assert warehouse.rows(kept.builds()[0].database) == 3
    assert health.check(kept.publisher) == []


def test_going_back_to_a_file_the_next_run_begins_from_the_newest_build_that_has_one(
    volume: Path, moved: Callable[[], Remote], caplog: pytest.LogCaptureFixture
) -> None:
    moved()
    kept = warehouse.new(volume)

    with kept.write(run("back"), 0, LOG) as build:
        build.check_out()

    assert warehouse.rows(kept.volume.database) == 3
    assert kept.generations.current() == 1
    assert "as one that was built in a database server (warehouse.kind: remote)" in caplog.text


def test_the_volumes_lock_is_free_while_a_run_writes(volume: Path) -> None:
    kept = remote(volume)

    with kept.write(run("long"), 0, LOG), lock.hold(kept.volume.lock, Holder.here("a look"), 0):
        pass


def test_a_deleted_lock_file_is_made_again(volume: Path) -> None:
    kept = remote(volume)
    with kept.write(run("first"), 0, LOG):
        kept.volume.writers(1)[0].unlink()
    with kept.write(run("second"), 0, LOG), pytest.raises(WarehouseBusy), kept.write(run("third"), 0, LOG):
        pass


def test_a_volume_of_another_size_of_writers_is_one_volume(volume: Path) -> None:
    one, two = remote(volume), remote(volume, writers=2)

    with ExitStack() as stack:
        stack.enter_context(one.write(run("before the upgrade"), 0, LOG))
        stack.enter_context(two.write(run("after"), 0, LOG))
        with pytest.raises(WarehouseBusy), two.write(run("third"), 0, LOG):
            pass
