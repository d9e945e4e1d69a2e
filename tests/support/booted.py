"""A flow run's pod as a process of this machine: `boot`, on a real server's flow run, with a project that waits."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.states import Pending

import gated_project as small
from dbtpod.dbt.project import Project
from dbtpod.faststart import boot
from waiting import until

_FLOWS = """
import json, os
from pathlib import Path

from prefect import flow

from dbtpod.dbt import process
from dbtpod.settings import from_environment
from dbtpod.warehouse.warehouse import project


def dbt(*args):
    target = Path(os.environ["TARGET"]) / args[-1]
    with process.start(args, project(from_environment()), target) as running:
        pids = [json.loads(line)["info"].get("pid") for line in running.lines() if line.startswith("{")]
        assert running.wait() == 0
    return pids[0]


@flow
def gated():
    Path(os.environ["GATE"] + ".flow").write_text(str(os.getpid()))
    dbt("run", "--select", "gate")


@flow
def no_command():
    pass


@flow(retries=2)
def retried():
    waits()


@flow
def waits_in_python():
    waits()


@flow
def waits_in_a_node():
    from datetime import datetime, timezone

    from dbtpod.dbt.events import NodeFinished, NodeStarted
    from dbtpod.dbt.node import NodeStatus
    from dbtpod.ui.node_runs import NodeRuns

    node, now = ("model.small.gate", "model", "gate"), datetime.now(timezone.utc)
    with NodeRuns() as nodes, nodes.command(Path(os.environ["TARGET"])) as shown:
        shown.observe(NodeStarted(*node, now, 1, 1))
        waits()
        shown.observe(NodeFinished(*node, NodeStatus.SUCCESS, now, 1.0, "", None))


def waits():
    import time

    gate = Path(os.environ["GATE"])
    with gate.with_name("gate.starts").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    while not gate.exists():
        time.sleep(0.05)


@flow
def two_commands():
    first, second = dbt("run", "--select", "plain"), dbt("run", "--select", "plain_too")
    Path(os.environ["GATE"] + ".pids").write_text(json.dumps([os.getpid(), first, second]))
"""


class Api:
    """What these tests ask the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        self.client = SyncPrefectClient(url)

    def state(self, run: UUID) -> str:
        """Return the name of a flow run's state."""
        return str(self.last_state(run).name)

    def last_state(self, run: UUID) -> State:
        """Return a flow run's state with its message."""
        state = self.client.read_flow_run(run).state
        assert state is not None
        return state

    def events(self, run: UUID, name: str) -> list[Any]:
        """Return the events of that name about a flow run."""
        resource = {"id": [f"prefect.flow-run.{run}"]}
        query = {"filter": {"event": {"name": [name]}, "any_resource": resource}}
        found: list[Any] = httpx.post(f"{self.url}/events/filter", json=query).json()["events"]
        return found


# What a pod runs, with jobs.fastStart and without.
FAST = (sys.executable, boot.__file__)
PLAIN = (sys.executable, "-m", "dbtpod.cli", "execute")


class Pod:
    """A flow run whose pod has started."""

    def __init__(
        self,
        prefect: Api,
        project: Project,
        folder: Path,
        flow: str,
        due: datetime | None = None,
        *,
        started: bool = True,
        command: Sequence[str] = FAST,
        **environment: str,
    ) -> None:
        self.command = command
        folder.mkdir()
        (folder / "flows.py").write_text(_FLOWS)
        self.target = folder / "target"
        for model in ("gate", "plain", "plain_too"):
            small.target_dir(project, self.target / model)
        self.gate = folder / "gate"
        self.run = self._flow_run(prefect, folder, flow, due)
        self.folder = folder
        self.environment = prefect.environment | {
            "PREFECT_API_URL": prefect.url,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT__FLOW_RUN_ID": str(self.run),
            "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule",
            "DUCKDB_PATH": str(project.writes),
            "DBT_PROJECT_DIR": str(project.folder),
            "GATE": str(self.gate),
            "TARGET": str(self.target),
            **environment,
        }
        self.boots: list[subprocess.Popen[bytes]] = []
        if started:
            self.start()

    @property
    def boot(self) -> subprocess.Popen[bytes]:
        """The newest pod's first process."""
        return self.boots[-1]

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a pod of the run."""
        log = (self.folder / f"pod-{len(self.boots)}.log").open("w")
        with log:
            self.boots.append(
                subprocess.Popen(
                    self.command, cwd=self.folder, env=self.environment | environment, stdout=log, stderr=log
                )
            )
        return self.boot

    def log(self, number: int = -1) -> str:
        """What that pod printed."""
        return sorted(self.folder.glob("pod-*.log"))[number].read_text()

    @staticmethod
    def _flow_run(prefect: Api, folder: Path, flow: str, due: datetime | None) -> UUID:
        deployment = prefect.client.create_deployment(
            flow_id=prefect.client.create_flow_from_name(flow),
            name="test",
            entrypoint=f"flows.py:{flow}",
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}],
        )
        run = prefect.client.create_flow_run_from_deployment(deployment).id
        prefect.client.set_flow_run_state(run, Pending(state_details={"scheduled_time": due}), force=True)
        return run

    def pids(self) -> list[int]:
        """Wait for dbt to run; the processes of supervisor, engine and dbt."""
        until(self.gate.with_name("gate.seen").exists, seconds=150)
        dbt = small.seen(self.gate)["pid"]
        return [self.boot.pid, int(Path(f"{self.gate}.flow").read_text()), dbt]

    def close(self) -> None:
        """End what a failed test left."""
        for each in self.boots:
            if each.poll() is None:
                each.kill()
                each.wait()

    def starts(self) -> int:
        """How often the flow `waits_in_python` began."""
        file = self.gate.with_name("gate.starts")
        return len(file.read_text().splitlines()) if file.exists() else 0

    def open_gate(self) -> None:
        """Let the flow or its model end."""
        self.gate.touch()


Start = Callable[..., Pod]


@contextmanager
def starting(prefect: Api, project: Project, folder: Path) -> Iterator[Start]:
    """Give the function that makes a flow run and starts its pod; what is left of them is ended."""
    pods: list[Pod] = []

    def start(flow: str, due: datetime | None = None, **options: Any) -> Pod:
        pods.append(Pod(prefect, project, folder / f"pod-{len(pods)}", flow, due, **options))
        return pods[-1]

    yield start
    for pod in pods:
        pod.close()
