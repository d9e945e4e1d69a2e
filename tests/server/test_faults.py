"""Faults without a cluster, in one process tree: real flows, real dbt, real locks, a real Prefect server."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pytest

import warehouse
from dbtpod.dbt.project import Project
from dbtpod.registration import heartbeat
from dbtpod.warehouse.volume import Volume
from prefect_server import Server
from rendering import Render
from waiting import until

ROOT = Path(__file__).parents[2]
# Each takes about 20 s on a quiet machine of two cores; `make soak` has twenty.
ROUNDS = int(os.environ.get("DBTPOD_MEETING_ROUNDS", "1"))
# A process that does what a pod does at its time: it runs a flow each time that it is told a line.
ATTENDANT = """
import sys
from prefect.flows import load_flow_from_entrypoint

flow = load_flow_from_entrypoint(f"flows/flows.py:{sys.argv[1]}", use_placeholder_flow=False)
for line in sys.stdin:
    state = flow(return_state=True)
    print("OUTCOME", state.name, state.state_details.flow_run_id, state.message, flush=True)
"""
CONTENT = "select count(*), sum(net_amount) from fct_orders"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Our own dbt project, parsed as in the image, and an empty volume."""
    folder = tmp_path_factory.mktemp("faults")
    shutil.copytree(
        ROOT / "dbt_project", folder / "dbt_project", ignore=shutil.ignore_patterns("target", "logs", ".dbtpod")
    )
    (folder / "volume").mkdir()
    project = warehouse.project(folder / "volume", folder / "dbt_project")
    warehouse.bake(project)
    return project


class Attendant:
    """One flow's process."""

    def __init__(self, flow: str, server: Server, project: Project) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
            "PREFECT_API_URL": server.url,
            "PREFECT_HOME": str(Volume(project.writes).root.parent / "prefect"),
            "DUCKDB_PATH": str(project.writes),
            "DBT_PROJECT_DIR": str(project.folder),
        }
        self.log = Volume(project.writes).root.parent / f"{flow}.log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ATTENDANT, flow],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def begin(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("now\n")
        self.process.stdin.flush()

    def outcome(self) -> str:
        """Wait for the end of the flow; its state's name."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("OUTCOME"):
                return line.split()[1]
        raise AssertionError(self.log.read_text()[-4000:])

    def run(self) -> str:
        self.begin()
        return self.outcome()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def attending(server: Server, project: Project, *flows: str) -> Iterator[list[Attendant]]:
    attendants = [Attendant(flow, server, project) for flow in flows]
    try:
        yield attendants
    finally:
        for each in attendants:
            each.stop()


class Reader(threading.Thread):
    """Opens what is published, counts, and closes it, again and again."""

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.seen: set[tuple[object, ...]] = set()
        self.looks = 0
        self.trouble: list[Exception] = []
        self._path = project.reads
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            try:
                self.seen.add(content(self._path))
                self.looks += 1
            except Exception as error:
                self.trouble.append(error)

    def __enter__(self) -> "Reader":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def content(path: Path) -> tuple[object, ...]:
    with duckdb.connect(path, read_only=True) as connection:
        return tuple(connection.execute(CONTENT).fetchall()[0])


@pytest.mark.soak
@pytest.mark.timeout(300 + 90 * ROUNDS)
def test_three_flows_that_meet_at_one_moment_all_complete_while_readers_see_whole_builds(
    server: Server, project: Project
) -> None:
    with attending(server, project, "dbt_build", "dbt_smoke", "dbt_source_freshness") as attendants:
        # Freshness has nothing to read before the first build.
        assert attendants[0].run() == "Completed"
        whole = content(project.reads)

        with Reader(project) as reader:
            outcomes = [meet(attendants) for _ in range(ROUNDS)]

    assert outcomes == [["Completed"] * 3] * ROUNDS
    assert reader.trouble == []
    assert reader.seen == {whole}
    assert reader.looks > 10 * ROUNDS


def meet(attendants: list[Attendant]) -> list[str]:
    for each in attendants:
        each.begin()
    return [each.outcome() for each in attendants]


@pytest.mark.soak
def test_a_flow_that_is_killed_at_any_moment_takes_dbt_along_and_the_next_one_goes_on(
    server: Server, project: Project
) -> None:
    with attending(server, project, "dbt_build") as [attendant]:
        assert attendant.run() == "Completed"
    whole = content(project.reads)

    for seconds in (0.0, 1.5, 3.0):
        with attending(server, project, "dbt_build") as [attendant]:
            attendant.begin()
            until(lambda: is_held(Volume(project.writes).lock))
            time.sleep(seconds)  # the moment is what differs, not a condition
            attendant.process.send_signal(signal.SIGKILL)
            until(lambda: not is_held(Volume(project.writes).lock), 10)
        until(lambda: not dbts_of(project), 10)
        assert content(project.reads) == whole

    with attending(server, project, "dbt_build") as [attendant]:
        assert attendant.run() == "Completed"
    assert content(project.reads) == whole


def is_held(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def dbts_of(project: Project) -> list[str]:
    """The processes of dbt that work for this volume."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(Volume(project.writes).runs).encode() in (process / "environ").read_bytes():
                found.append(process.name)
    return found


def test_a_pod_sends_three_heartbeats_before_its_run_is_given_up_for_gone(render: Render) -> None:
    [work_pool] = [each for each in render(kind="ConfigMap") if "base-job-template.json" in each["data"]]

    template = json.loads(work_pool["data"]["base-job-template.json"])

    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert int(environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) * 3 <= heartbeat.HEARTBEAT_TIMEOUT.total_seconds()
