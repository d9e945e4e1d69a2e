"""How a run's pod ends, or does nothing at all: a second pod, the deadline, the scratch limit. With real dbt."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Cancelling, Completed, Pending

import gated_project as small
import warehouse
from booted import Api, Pod, Start, starting
from dbtpod.dbt.project import Project
from dbtpod.pod import alone
from dbtpod.pod.limits import Deadline, Limits, Scratch, scratch, size, usage
from dbtpod.warehouse import housekeeping, run_lock
from dbtpod.warehouse.volume import Volume
from prefect_server import Server


@pytest.fixture(scope="module")
def prefect(server: Server) -> Api:
    return Api(server.url)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small.create(tmp_path_factory.mktemp("endings"))


@pytest.fixture
def start(prefect: Api, gated: Project, tmp_path: Path) -> Iterator[Start]:
    with starting(prefect, gated, tmp_path) as start:
        yield start


def last_state(prefect: Api, pod: Pod) -> State:
    state = prefect.client.read_flow_run(pod.run).state
    assert state is not None
    return state


def lock_file(gated: Project, pod: Pod) -> Path:
    return run_lock.path(Volume(gated.writes).runs, str(pod.run))


# ---- a second pod of one run


def test_a_pod_of_a_run_that_is_over_does_nothing(prefect: Api, gated: Project, start: Start) -> None:
    pod = start("waits_in_python", started=False)
    prefect.client.set_flow_run_state(pod.run, Completed(message="done"), force=True)

    assert pod.start().wait(150) == 0

    assert last_state(prefect, pod).message == "done"
    assert "is Completed already: this pod does nothing." in pod.log()
    assert pod.starts() == 0
    assert not lock_file(gated, pod).exists()


def test_a_second_pod_of_a_run_that_is_running_does_nothing(prefect: Api, gated: Project, start: Start) -> None:
    pod = start("waits_in_python")
    small.until(lambda: pod.starts() == 1, seconds=150)
    running = last_state(prefect, pod)

    assert pod.start().wait(150) == 0

    assert "is Running in another pod: this one does nothing." in pod.log()
    assert last_state(prefect, pod).id == running.id
    pod.open_gate()
    assert pod.boots[0].wait(150) == 0
    assert prefect.state(pod.run) == "Completed"
    assert pod.starts() == 1
    assert not lock_file(gated, pod).exists()


def test_of_two_pods_of_one_run_that_start_together_one_runs_it(prefect: Api, start: Start) -> None:
    pod = start("waits_in_python")
    pod.start()

    small.until(lambda: any(each.poll() is not None for each in pod.boots), seconds=150)
    [loser] = [each for each in pod.boots if each.poll() is not None]
    pod.open_gate()
    codes = [each.wait(150) for each in pod.boots]

    assert codes == [0, 0]
    assert "this one does nothing" in pod.log(pod.boots.index(loser))
    assert prefect.state(pod.run) == "Completed"
    assert pod.starts() == 1


@pytest.mark.soak
def test_a_second_pod_of_a_run_that_is_being_cancelled_leaves_that_to_the_first(prefect: Api, start: Start) -> None:
    pod = start("waits_in_python")
    small.until(lambda: pod.starts() == 1, seconds=150)
    # The first one is too busy to notice.
    pod.boots[0].send_signal(signal.SIGSTOP)
    prefect.client.set_flow_run_state(pod.run, Cancelling())

    assert pod.start().wait(150) == 0

    assert prefect.state(pod.run) == "Cancelling"
    pod.boots[0].send_signal(signal.SIGCONT)
    assert pod.boots[0].wait(150) == 0
    small.until(lambda: prefect.state(pod.run) == "Cancelled")


def test_the_next_pod_of_a_run_waits_for_the_one_before_it_to_end(prefect: Api, gated: Project, start: Start) -> None:
    pod = start("no_command", started=False)
    held = run_lock.take(lock_file(gated, pod))
    assert held is not None

    pod.start()
    with pytest.raises(AssertionError):
        small.until(lambda: pod.boot.poll() is not None, seconds=30)
    assert prefect.state(pod.run) == "Pending"
    run_lock.drop(lock_file(gated, pod), held)

    assert pod.boot.wait(150) == 0
    assert prefect.state(pod.run) == "Completed"


def test_a_run_that_another_pod_has_ended_since_it_was_read_is_not_begun_again(
    prefect: Api, gated: Project, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUCKDB_PATH", str(gated.writes))
    pod = start("no_command", started=False)
    read = prefect.client.read_flow_run(pod.run)
    with alone.hold(prefect.client, read) as begun:
        assert begun
        prefect.client.set_flow_run_state(pod.run, Cancelling(), force=True)
    with alone.hold(prefect.client, read) as begun:
        assert begun  # who cancels a run that no pod holds is its next pod

    prefect.client.set_flow_run_state(pod.run, Completed(), force=True)

    with alone.hold(prefect.client, read) as begun:
        assert not begun
    assert not lock_file(gated, pod).exists()


def test_a_volume_that_keeps_no_lock_is_left_to_the_flow(prefect: Api, start: Start) -> None:
    pod = start("no_command", DUCKDB_PATH="/nowhere/work/warehouse.duckdb")

    assert pod.boot.wait(150) == 0

    assert prefect.state(pod.run) == "Completed"


# ---- the deadline


def test_a_run_that_is_longer_than_its_deadline_is_ended_once_and_says_why(prefect: Api, start: Start) -> None:
    # Its flow has retries, which are no way round a deadline.
    pod = start("retried", started=False, DBTPOD_DEADLINE="45s")
    prefect.client.set_flow_run_state(pod.run, Pending(), force=True)

    assert pod.start().wait(120) == 0

    state = last_state(prefect, pod)
    assert (state.type.value, state.name) == ("FAILED", "TimedOut")
    assert "deadline of 45 s" in str(state.message)
    assert "jobs.activeDeadlineSeconds" in str(state.message)
    assert pod.starts() == 1
    assert not small.is_alive(int(pod.gate.with_name("gate.starts").read_text()))


def test_a_sigterm_just_before_the_deadline_is_the_deadlines(tmp_path: Path) -> None:
    now = datetime.now(UTC).timestamp()
    soon, later = (Limits(Deadline(1000, at=now + left), None) for left in (10, 60))

    assert soon.exceeded() is None
    assert soon.behind_sigterm() is not None
    assert later.behind_sigterm() is None


def test_a_deadline_is_over_by_its_own_seconds() -> None:
    assert Deadline(10, at=datetime.now(UTC).timestamp() + 3).over() is None
    assert Deadline(10, at=datetime.now(UTC).timestamp() + 2).over() is not None
    assert Deadline(1000, at=datetime.now(UTC).timestamp() + 8).over() is None
    assert Deadline(1000, at=datetime.now(UTC).timestamp() + 8).over(earlier=15) is not None


# ---- the scratch limit


def test_a_run_that_exceeds_its_scratch_limit_fails_once_with_the_value_to_raise(
    prefect: Api, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "scratch" / "deep").mkdir(parents=True)
    pod = start("retried", DBTPOD_SCRATCH_LIMIT="20Mi", DBTPOD_TEMP_DIRECTORY=str(tmp_path / "scratch" / "duckdb"))
    small.until(lambda: pod.starts() == 1, seconds=150)

    (tmp_path / "scratch" / "deep" / "spill").write_bytes(os.urandom(22 * 2**20))
    assert pod.boot.wait(150) == 0

    state = last_state(prefect, pod)
    assert state.name == "Failed"
    assert "scratch limit" in str(state.message)
    assert "jobs.scratch.sizeLimit is 20Mi" in str(state.message)
    assert pod.starts() == 1


@pytest.mark.soak
def test_a_sigterm_with_the_scratch_full_is_kubelets(prefect: Api, start: Start, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    # Not above the limit, or the pod would be quicker.
    (tmp_path / "scratch" / "spill").write_bytes(os.urandom(20 * 2**20 - 300_000))
    pod = start("retried", DBTPOD_SCRATCH_LIMIT="20Mi", DBTPOD_TEMP_DIRECTORY=str(tmp_path / "scratch" / "duckdb"))
    small.until(lambda: pod.starts() == 1, seconds=150)

    pod.boot.send_signal(signal.SIGTERM)

    assert pod.boot.wait(150) == 0
    assert "scratch limit" in str(last_state(prefect, pod).message)


@pytest.mark.parametrize(
    ("quantity", "found"),
    [("10Gi", 10 * 2**30), ("1.5G", 1_500_000_000), ("512Mi", 2**29), ("100k", 100_000), ("77", 77), ("5000m", 5)],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(quantity: str, found: int) -> None:
    assert size(quantity) == found


def test_the_lower_of_two_limits_counts_and_is_named() -> None:
    limits = {"DBTPOD_SCRATCH_LIMIT": "10Gi", "DBTPOD_EPHEMERAL_STORAGE_LIMIT": "1Gi"}

    found = scratch(limits)

    assert found == Scratch(Path("/tmp"), 2**30, "1Gi", "jobs.resources.limits.ephemeral-storage")
    assert scratch({}) is None


def test_usage_counts_what_is_on_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "written").write_bytes(os.urandom(2**20))
    with (tmp_path / "a" / "sparse").open("wb") as file:
        file.truncate(2**30)

    assert 2**20 <= usage(tmp_path) < 2 * 2**20


# ---- the lock of one run


def test_the_lock_of_a_run_has_one_holder_and_leaves_no_file(tmp_path: Path) -> None:
    file = run_lock.path(tmp_path / "runs", "a")

    held = run_lock.take(file)
    assert held is not None
    assert run_lock.take(file) is None
    run_lock.drop(file, held)

    assert not file.exists()
    again = run_lock.take(file)
    assert again is not None


def test_a_lock_that_was_removed_while_another_waited_for_it_is_not_two_locks(tmp_path: Path) -> None:
    file = run_lock.path(tmp_path / "runs", "a")
    first = run_lock.take(file)
    assert first is not None
    late = os.open(file, os.O_RDWR)
    run_lock.drop(file, first)

    held = run_lock.take(file)

    assert held is not None
    assert os.path.samestat(os.fstat(held), file.stat())
    assert not os.path.samestat(os.fstat(late), file.stat())


def test_only_locks_that_nobody_holds_are_left_behind(tmp_path: Path) -> None:
    files = [run_lock.path(tmp_path / "runs", name) for name in ("dead", "alive")]
    dead, alive = (run_lock.take(file) for file in files)
    assert dead is not None and alive is not None
    os.close(dead)

    found = run_lock.left_behind(tmp_path / "runs")

    assert [name for name, _, _ in found] == ["dead"]


def test_housekeeping_removes_the_locks_of_runs_that_died_long_ago(tmp_path: Path) -> None:
    publisher = warehouse.new(tmp_path).publisher
    dead, alive = (run_lock.path(publisher.volume.runs, name) for name in ("dead", "alive"))
    died, held = (run_lock.take(file) for file in (dead, alive))
    assert died is not None and held is not None
    os.close(died)

    housekeeping.clean(publisher, "another", keep_days=14)
    assert dead.exists()

    housekeeping.clean(publisher, "another", keep_days=0)
    assert not dead.exists()
    assert alive.exists()
