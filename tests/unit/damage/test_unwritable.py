"""Volumes that may not be written: mounted read-only, of another user, on two filesystems."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import volume_damage as damaged
import warehouse
from dbtpod.errors import SettingsError, WarehouseUnusable
from dbtpod.warehouse.warehouse import DuckDBFile
from volume_damage import Say
from warehouse import LOG

POD_UID = 10001


@pytest.fixture
def read_only(pristine: DuckDBFile, tmp_path: Path) -> Iterator[DuckDBFile]:
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


def test_on_a_volume_that_is_read_only_readers_read_and_check_checks(read_only: DuckDBFile, say: Say) -> None:
    assert damaged.history(read_only.read(LOG)) == [1, 2, 3]
    assert not read_only.volume.reader_runs().is_relative_to(read_only.volume.root)
    assert say(read_only, "check")[0] == 0
    assert say(read_only, "list")[0] == 0
    assert say(read_only, "diff", "1", "2")[0] == 0
    read_only.volume.check(writes=False)


def test_a_run_that_builds_on_a_volume_that_is_read_only_gets_that_cause(read_only: DuckDBFile, say: Say) -> None:
    with pytest.raises(SettingsError, match="is mounted read-only") as caught:
        read_only.volume.check(writes=True)

    assert "fsGroup" not in str(caught.value)
    code, said = say(read_only, "repair")
    assert code == 1
    assert "is mounted read-only" in said


@pytest.fixture
def foreign(pristine: DuckDBFile) -> Iterator[DuckDBFile]:
    """The volume, owned by root or another user, which a pod's user may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        one = warehouse.twin(pristine, Path(name) / "volume")
        for path in [one.volume.root, *one.volume.root.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() else 0o444)
        yield one
        for path in [one.volume.root, *(path for path in one.volume.root.rglob("*") if path.is_dir())]:
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


def test_on_a_volume_of_another_user_readers_read(foreign: DuckDBFile) -> None:
    answer = as_pod(
        lambda: (
            damaged.history(foreign.read(LOG)),
            foreign.volume.reader_runs().is_relative_to(foreign.volume.root),
        )
    )

    assert answer == "([1, 2, 3], False)"


def test_a_run_that_builds_on_a_volume_of_another_user_gets_the_owner_and_what_to_set(foreign: DuckDBFile) -> None:
    answer = as_pod(lambda: foreign.volume.check(writes=True))

    assert re.search(
        r"uid \d+ \(gid \d+\) may not write to .*: it belongs to uid \d+ and gid \d+, with mode 0555", answer
    )
    assert "podSecurityContext.fsGroup" in answer
    assert "read-only" not in answer


@pytest.mark.parametrize("name", ["work", "published", "writer.lock", "work/warehouse.duckdb", "published/000003"])
def test_one_path_of_another_user_is_named_with_the_command_that_helps(foreign: DuckDBFile, name: str) -> None:
    if os.getuid():
        pytest.skip("needs the right to give files away")
    for path in [foreign.volume.root, *foreign.volume.root.rglob("*")]:
        os.chown(path, POD_UID, POD_UID, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    locked = foreign.volume.root / name
    os.chown(locked, 0, 0)
    locked.chmod(0o700 if locked.is_dir() else 0o600)

    answer = as_pod(lambda: damaged.build(foreign))

    assert answer.startswith("WarehouseUnusable"), answer
    assert re.search(rf"may not (read|write to) {locked}: it belongs to uid 0 .*chown -R {POD_UID}", answer), answer


def test_a_folder_on_another_filesystem_is_refused(kept: DuckDBFile) -> None:
    other = kept.volume.published
    shutil.rmtree(other)
    other.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(other)], capture_output=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    try:
        with pytest.raises(WarehouseUnusable, match="published is on another filesystem than"):
            damaged.build(kept)
    finally:
        subprocess.run(["umount", "-l", str(other)], check=True)
