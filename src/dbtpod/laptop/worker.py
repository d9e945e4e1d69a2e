"""The worker's process: it starts each flow run as a process of this machine, by the command that a pod runs.

So a run has here what it has on a cluster: one process for one run, its lock, its deadline, dbt loaded before its time.
Prefect's own process worker would ask a cancelled run to end beside that command, which does so itself, and would end
a run as crashed where this one sends it back to its queue.
"""

import asyncio
import signal
import socket
import subprocess
import sys
from typing import Any

import anyio
from anyio.abc import Process, TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from dbtpod.dbt import parent_death
from dbtpod.faststart import boot
from dbtpod.laptop import pool
from dbtpod.settings import environment

# More than a run's process takes to send the run back and to stop dbt (faststart.supervisor).
STOP_SECONDS = 45.0
STOPPED = "dbtpod serve was ended; the run continues when it is started again."


class Configuration(BaseJobConfiguration):
    """What a deployment's job variables say of its runs' processes."""

    active_deadline_seconds: int | None = None


class Result(BaseWorkerResult):
    """How a run's process ended."""


class Worker(BaseWorker[Configuration, BaseVariables, Result]):
    """Runs flow runs as processes of this machine."""

    type = pool.KIND
    job_configuration = Configuration

    async def run(
        self, flow_run: FlowRun, configuration: Configuration, task_status: TaskStatus[Any] | None = None
    ) -> Result:
        """Start the run's process and wait for its end."""
        process = await anyio.open_process(
            parent_death.tied(*_command()),
            env=_environment(configuration),
            stdin=subprocess.DEVNULL,
            stdout=None,
            stderr=None,
            start_new_session=True,
        )
        if task_status:
            task_status.started(process.pid)
        try:
            code = await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(process)
        return Result(status_code=code, identifier=str(process.pid))


def _command() -> list[str]:
    if sys.platform == "linux":
        return [sys.executable, boot.__file__]
    return [sys.executable, "-m", "dbtpod.cli", "execute"]


def _environment(configuration: Configuration) -> dict[str, str]:
    given = {name: value for name, value in configuration.env.items() if value is not None}
    seconds = configuration.active_deadline_seconds
    return {
        **environment(),
        **given,
        **({"DBTPOD_DEADLINE": f"{seconds}s"} if seconds else {}),
        "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "reschedule",
        "DBTPOD_SIGTERM_MESSAGE": STOPPED,
    }


async def _stop(process: Process) -> None:
    """Let a run's process send its run back and end dbt, and end it."""
    if process.returncode is not None:
        return
    process.terminate()
    with anyio.move_on_after(STOP_SECONDS):
        await process.wait()
        return
    process.kill()
    await process.wait()


async def work(name: str) -> None:
    """Work for the pool until a SIGTERM."""
    worker = Worker(work_pool_name=name, name=socket.gethostname(), create_pool_if_not_found=False)
    working = asyncio.ensure_future(worker.start(printer=lambda _: None))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    try:
        await working
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
