"""`dbtpod serve` in a user's repository: real processes, killed and stopped in every way."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import gated_project as small
from prefect_server import free_port
from repository import GATE, Repository
from waiting import until

FLOWS = """
from prefect import State, flow

from dbtpod import run_dbt


@flow
def build() -> State:
    return run_dbt("build --select plain plain_too")


@flow
def waits() -> State:
    return run_dbt("run --select plain", "run --select gate")
"""
PREFECT_YAML = """
deployments:
  - name: build
    entrypoint: flows/flows.py:build
    work_pool: {name: dbtpod, work_queue_name: duckdb-writer, job_variables: {memory_limit: 2Gi}}
    schedules:
      - {slug: yearly, cron: 0 0 1 1 *}
  - name: waits
    entrypoint: flows/flows.py:waits
    work_pool: {name: dbtpod, work_queue_name: duckdb-writer}
"""
# Of a machine that does much else.
SECONDS = 300


class Serving:
    """A `dbtpod serve` that is ready, and what a user sees of it."""

    def __init__(self, shop: Repository, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.shop, self.process, self.log = shop, process, log
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=f"{self.url}/api/", timeout=60)

    def call(self, path: str, **body: Any) -> Any:
        answer = until(lambda: self._answer(path, body), SECONDS)
        assert answer.is_success, answer.text
        return answer.json()

    def _answer(self, path: str, body: dict[str, Any]) -> httpx.Response | None:
        """None while the server is away, or too busy."""
        try:
            answer = self.http.post(path, json=body)
        except httpx.TransportError:
            return None
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

    def deployments(self) -> dict[str, Any]:
        return {each["name"]: each for each in self.call("deployments/filter")}

    def start(self, deployment: str, due: datetime | None = None) -> str:
        key = self.deployments()[deployment]["id"]
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": (due or datetime.now(UTC)).isoformat()}}
        run: str = self.call(f"deployments/{key}/create_flow_run", state=state)["id"]
        return run

    def run(self, key: str) -> Any:
        [found] = self.call("flow_runs/filter", flow_runs={"id": {"any_": [key]}})
        return found

    def until(self, key: str, *names: str) -> Any:
        """Wait for a state of one of these names; the run."""

        def reached() -> Any:
            found = self.run(key)
            state = found["state"]
            is_other_end = state["type"] in {"COMPLETED", "FAILED", "CRASHED"} and state["name"] not in names
            assert not is_other_end, f"{state}\n{self.log.read_text()[-3000:]}"
            return found if state["name"] in names else None

        return until(reached, SECONDS)

    def kill(self, command: str) -> None:
        """Kill the process below this one whose command ends so."""

        def found() -> list[int]:
            return [pid for pid in descendants(self.process.pid) if command_of(pid).endswith(command)]

        os.kill(until(found, SECONDS)[0], signal.SIGKILL)

    def said(self, text: str) -> None:
        until(lambda: text in self.log.read_text(), SECONDS)


def descendants(pid: int) -> list[int]:
    """The processes below this one."""
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [each for child in children for each in (child, *descendants(child))]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except FileNotFoundError:
        return ""


@contextmanager
def serving(shop: Repository, port: int) -> Iterator[Serving]:
    log = shop.folder.parent / "serve.log"
    log.write_text("")
    with shop.running("serve", "--port", str(port), "--reader-port", str(free_port()), log=log) as process:

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "run on this machine now" in log.read_text()

        until(is_ready, 2 * SECONDS)
        yield Serving(shop, port, process, log)


def repository(folder: Path) -> Repository:
    found = Repository(folder / "shop", GATE)
    found.write("flows/flows.py", FLOWS)
    found.write("prefect.yaml", PREFECT_YAML)
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One for all tests that leave it running."""
    with serving(repository(tmp_path_factory.mktemp("serve")), free_port()) as found:
        yield found
        found.process.terminate()
        assert found.process.wait(SECONDS) == 0


def test_it_registers_the_file_runs_what_is_due_and_is_seen_by_dbtpod_run(served: Serving) -> None:
    shop = served.shop
    assert set(served.deployments()) == {"build", "waits"}
    queues = {each["name"]: each["concurrency_limit"] for each in served.call("work_pools/dbtpod/queues/filter")}
    assert (queues["duckdb-writer"], queues["duckdb-reader"]) == (1, None)
    assert f"Prefect UI     {served.url}" in served.log.read_text()
    assert "memory_limit is of a pod, and does nothing here" in served.log.read_text()
    assert "Prefect" in httpx.get(served.url, timeout=60).text

    run = served.until(served.start("build"), "Completed")

    assert run["state"]["message"] == "2 nodes: 2 success"
    assert (shop.volume.current / "warehouse.duckdb").is_file()

    def models() -> set[str]:
        rows = served.call("task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})
        return {row["name"].split(" ")[-1].split(".")[-1] for row in rows}

    until(lambda: {"plain", "plain_too"} <= models(), what="the task runs of both models")

    done = shop.run("run", "build", "--select", "plain")
    assert done.returncode == 0, done.stdout + done.stderr
    flows = {each["name"] for each in served.call("flows/filter")}
    assert {"build", "waits", "dbt"} <= flows

    [reader] = re.findall("the reader +(.+)/", served.log.read_text())
    assert "2 nodes: 2 success" in httpx.get(f"{reader}/runs/{run['id']}", timeout=60).text
    published = httpx.get(f"{reader}/runs/{run['id']}/generation", timeout=60, follow_redirects=True)
    assert published.is_success
    assert str(published.url) == f"{reader}/generations/1"
    second = shop.run("serve", "--port", str(free_port()))
    assert second.returncode == 1
    assert (
        f"dbtpod serve runs already with the data in {shop.volume.root}: process {served.process.pid}" in second.stderr
    )


@pytest.mark.soak
def test_a_changed_file_is_registered_again_and_one_with_mistakes_is_not(served: Serving) -> None:
    shop = served.shop
    shop.write("prefect.yaml", PREFECT_YAML.replace("flows.py:waits", "flows.py:wiats"))
    served.said("did you mean 'waits'?")
    served.said("what was registered before stays")
    assert set(served.deployments()) == {"build", "waits"}

    shop.write("prefect.yaml", PREFECT_YAML.replace("name: waits", "name: waits-longer"))
    until(lambda: set(served.deployments()) == {"build", "waits-longer"}, SECONDS)
    shop.write("prefect.yaml", PREFECT_YAML)
    until(lambda: set(served.deployments()) == {"build", "waits"}, SECONDS)


@pytest.mark.soak
def test_a_killed_run_is_crashed_with_the_reason_and_the_next_one_works(served: Serving) -> None:
    with waiting(served) as run:
        served.kill("boot.py")
        killed = time.monotonic()
        found = served.until(run, "Crashed")
        assert "SIGKILL" in found["state"]["message"]
        assert time.monotonic() - killed < 60
    assert served.until(served.start("build"), "Completed")


@pytest.mark.soak
def test_a_worker_that_was_killed_is_started_again_and_its_run_is_crashed(served: Serving) -> None:
    with waiting(served) as run:
        served.kill("dbtpod.laptop.worker dbtpod")
        assert "ended without a word" in served.until(run, "Crashed")["state"]["message"]
    served.said("The worker was ended by SIGKILL, and is started again.")
    assert served.until(served.start("build"), "Completed")


@pytest.mark.soak
def test_a_run_goes_on_while_the_server_is_killed_and_started_again(served: Serving) -> None:
    with waiting(served) as run:
        served.kill("server start")
        served.said("Prefect's server was ended by SIGKILL, and is started again.")
    assert served.until(run, "Completed")


@pytest.mark.soak
def test_a_run_that_is_cancelled_ends(served: Serving) -> None:
    with waiting(served) as run:
        state = {"type": "CANCELLING", "name": "Cancelling"}
        served.call(f"flow_runs/{run}/set_state", state=state)
        assert served.until(run, "Cancelled")


def test_a_stop_sends_the_run_back_and_the_next_start_goes_on_with_it(tmp_path: Path) -> None:
    shop, port = repository(tmp_path), free_port()
    with serving(shop, port) as first, waiting(first) as run:
        dbt, before = small.seen(shop.gate)["pid"], descendants(first.process.pid)
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(SECONDS) == 0
        assert not small.is_alive(dbt)
    assert not any("dbtpod.laptop" in command_of(pid) for pid in before)

    with serving(shop, port) as second:
        found = second.until(run, "Completed")
        states = second.http.get("flow_run_states/", params={"flow_run_id": run}).json()
        assert "dbtpod serve was ended; the run continues" in str([state["message"] for state in states])
        assert found["run_count"] == 2
        log = second.call("logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
        assert any("dbt run --select plain: done before" in line["message"] for line in log)


@pytest.mark.soak
def test_a_killed_serve_leaves_nothing_and_the_next_one_ends_its_run(tmp_path: Path) -> None:
    shop, port = repository(tmp_path), free_port()
    with serving(shop, port) as first, waiting(first) as run:
        dbt = small.seen(shop.gate)["pid"]
        all_of_it = [*descendants(first.process.pid), dbt]
        first.process.kill()
        until(lambda: not any(small.is_alive(pid) for pid in all_of_it), 60)

    with serving(shop, port) as second:
        assert "ended without a word" in second.until(run, "Crashed")["state"]["message"]
        assert second.until(second.start("build"), "Completed")


def test_a_port_that_another_program_has_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        used = other.getsockname()[1]

        done = repository(tmp_path).run("serve", "--port", str(used))

    assert done.returncode == 1
    assert f"Port {used} of this machine cannot be used (Address already in use)" in done.stderr


def test_a_repository_without_a_prefect_yaml_is_told_how_to_make_one(tmp_path: Path) -> None:
    done = Repository(tmp_path / "shop").run("serve")

    assert done.returncode == 1
    assert "prefect.yaml, which says what runs when: `dbtpod init` writes one" in done.stderr


def test_mistakes_in_the_file_end_it_with_their_lines(tmp_path: Path) -> None:
    shop = Repository(tmp_path / "shop")
    shop.write("prefect.yaml", PREFECT_YAML)

    done = shop.run("serve", "--port", str(free_port()))

    assert done.returncode == 1
    assert "there is no file flows/flows.py" in done.stderr
    assert "could not be registered" in done.stderr


@contextmanager
def waiting(served: Serving) -> Iterator[str]:
    """A run whose last model waits for the gate, which is opened at the end."""
    gate, seen = served.shop.gate, served.shop.gate.with_name("gate.seen")
    for path in (gate, seen):
        path.unlink(missing_ok=True)
    run = served.start("waits")
    until(seen.exists, 2 * SECONDS)
    try:
        yield run
    finally:
        gate.touch()
