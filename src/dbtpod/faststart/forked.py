"""The two processes that the supervisor watches: the engine, which it forked, and dbt, which boot started."""

import json
import os
import select
import signal
from contextlib import suppress

import anyio
from anyio.abc import TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.runner._control_channel import ControlChannel
from prefect.runner._process_manager import ProcessHandle


class Engine:
    """The engine's process, which Prefect's executor takes for one that it started."""

    wait_after_graceful_kill = True

    def __init__(self, pid: int, to_engine: int, control: ControlChannel) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._process = os.pidfd_open(pid)
        self._to_engine = to_engine
        self._control = control

    async def start(
        self, flow_run: FlowRun, task_status: TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Let the engine begin the flow, then wait for its end."""
        port, token = self._control.register(flow_run.id)
        # One that has ended already does not read; its exit code says how.
        with suppress(BrokenPipeError), os.fdopen(self._to_engine, "wb") as file:
            file.write(json.dumps({"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}).encode())
        task_status.started(ProcessHandle(self, termination_scope=self))  # type: ignore[arg-type]
        await anyio.wait_readable(self._process)
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def is_alive(self, pid: int) -> bool:
        """Whether the engine runs; a zombie does not."""
        return not select.select([self._process], [], [], 0)[0]

    def graceful_kill(self, pid: int) -> None:
        """Ask the engine to end."""
        signal.pidfd_send_signal(self._process, signal.SIGTERM)

    def hard_kill(self, pid: int) -> None:
        """End the engine, and by their parent-death signals what it started."""
        signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """Do nothing: the process ends with the supervisor's."""


class Dbt:
    """dbt's process: its parent alone learns how it ended."""

    def __init__(self, pid: int, process: int, to_flow: int) -> None:
        self._pid, self._process, self._to_flow = pid, process, to_flow

    async def report_end(self) -> None:
        """Give the flow the signal that ended dbt, 0 for none."""
        await anyio.wait_readable(self._process)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        with suppress(BrokenPipeError):
            os.write(self._to_flow, str(max(0, -code)).encode())
