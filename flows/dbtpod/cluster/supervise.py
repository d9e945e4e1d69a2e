"""A flow run in a forked engine under Prefect's supervisor, from one import.

`prefect flow-run execute` does the same with three interpreters in a row. What it gives is Prefect's own code here
too: the executor reports an engine that dies as Crashed, the observer ends a run that is cancelled, the control
channel tells the engine why it is ended. The names are private, in `engine` too: a test pins them, and `boot` falls
back where they are gone.
"""

import asyncio
import json
import os
import select
import signal
import socket
import threading
from contextlib import suppress
from uuid import UUID

import anyio
from anyio.abc import TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort, Pause
from prefect.flows import load_flow_from_flow_run
from prefect.logging import get_logger
from prefect.runner._control_channel import ControlChannel, ControlSignalStatus
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.states import AwaitingRetry
from prefect.utilities.engine import propose_state

from dbtpod.cluster import engine
from dbtpod.dbt import leash, process

# From the flow run's last state to the engine's end: for logs that the API does not take.
FLUSH_SECONDS = 15.0
# More than dbt gets to stop, less than Kubernetes gives to a pod.
GRACE_SECONDS = 15.0
# What the worker sets where Kubernetes does not start a pod again: the run goes back to the queue.
_ON_SIGTERM = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"


def run(warm: socket.socket, warm_pid: int) -> int:
    """Fork the engine and supervise it; both return here, each with its exit code.

    The fork comes before any thread or loop: what either needs of them, it starts itself.
    """
    if threading.active_count() > 1:
        raise RuntimeError(f"A thread was started before the fork: {threading.enumerate()}.")
    flow_run_id = UUID(os.environ["PREFECT__FLOW_RUN_ID"])
    warm_process = os.pidfd_open(warm_pid)
    (control, to_engine), (status, to_flow) = os.pipe(), os.pipe()
    parent = os.getpid()
    if pid := os.fork():
        warm.close()
        os.close(control)
        os.close(status)
        return anyio.run(_supervise, flow_run_id, pid, to_engine, _Warm(warm_pid, warm_process, to_flow))
    leash.fasten(parent)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    os.close(to_engine)
    os.close(to_flow)
    process.hand_over(f"{warm.detach()},{warm_process},{status}")
    return engine.run(flow_run_id, control)


class _Engine:
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
        """Let the engine go on to the flow, then wait for its end."""
        port, token = self._control.register(flow_run.id)
        with os.fdopen(self._to_engine, "wb") as file:
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
        """End the engine, and by their leashes what it started."""
        signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def close(self) -> None:
        """Do nothing: the process ends with the supervisor's."""


class _Warm:
    """dbt's process: its parent alone learns how it ended."""

    def __init__(self, pid: int, process: int, to_flow: int) -> None:
        self._pid, self._process, self._to_flow = pid, process, to_flow

    async def tell_end(self) -> None:
        """Tell the flow the signal that ended dbt, 0 for none."""
        await anyio.wait_readable(self._process)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        with suppress(BrokenPipeError):
            os.write(self._to_flow, str(max(0, -code)).encode())


async def _supervise(flow_run_id: UUID, pid: int, to_engine: int, warm: _Warm) -> int:
    code = 0
    async with FlowRunExecutorContext() as context:
        terminating = anyio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminating.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        forked = _Engine(pid, to_engine, context.control_channel)
        executor = context.create_executor(
            await context.client.read_flow_run(flow_run_id),
            forked,
            resolve_flow=lambda run: load_flow_from_flow_run(run, use_placeholder_flow=False),
            propose_submitting=False,
        )
        async with anyio.create_task_group() as tasks:

            async def terminate() -> None:
                nonlocal code
                await terminating.wait()
                if (ended := await _terminate(context, flow_run_id)) is not None:
                    code = ended
                    # The run's next state is ours: the executor must not report the engine's end as a crash.
                    tasks.cancel_scope.cancel()

            tasks.start_soon(terminate)
            tasks.start_soon(warm.tell_end)
            tasks.start_soon(_bound_flush, context, flow_run_id)
            await executor.submit()
            tasks.cancel_scope.cancel()
    return code


async def _bound_flush(context: FlowRunExecutorContext, flow_run_id: UUID) -> None:
    while context.control_channel.get_conclusion(flow_run_id) is None:
        await anyio.sleep(1)
    await anyio.sleep(FLUSH_SECONDS)
    await context.process_manager.kill(flow_run_id, force=True)


async def _terminate(context: FlowRunExecutorContext, flow_run_id: UUID) -> int | None:
    """End the engine as its pod is being deleted; the exit code, or None where the engine has the last word."""
    intent = os.environ.get(_ON_SIGTERM, "").lower()
    if intent not in ("reschedule", "relinquish"):
        await context.process_manager.kill(flow_run_id)  # the engine reports the crash
        return None
    # The engine must learn why before its own SIGTERM; one that did not hear may do nothing more.
    heard = await context.control_channel.signal(flow_run_id, intent)  # type: ignore[arg-type]
    if heard is ControlSignalStatus.ALREADY_CONCLUDED:
        return None
    if intent == "reschedule":
        await _reschedule(context, flow_run_id)
    await context.process_manager.kill(flow_run_id, GRACE_SECONDS, force=heard is not ControlSignalStatus.ACKNOWLEDGED)
    return 0 if intent == "reschedule" else 1


async def _reschedule(context: FlowRunExecutorContext, flow_run_id: UUID) -> None:
    try:
        state = (await context.client.read_flow_run(flow_run_id)).state
        # Crashed is no end here: whoever watches the pods may have been quicker than we.
        if state is None or not state.is_final() or state.is_crashed():
            await propose_state(context.client, AwaitingRetry(), flow_run_id=flow_run_id)
    except (Abort, Pause, Exception):  # the engine must be ended all the same
        get_logger("dbtpod").exception("The flow run could not be rescheduled.")
