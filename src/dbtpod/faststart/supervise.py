"""A flow run in a forked engine under Prefect's supervisor, from one import.

`prefect flow-run execute` does the same with three interpreters in a row. What it gives is Prefect's own code here
too: the executor reports an engine that dies as Crashed, the observer ends a run that is cancelled, the control
channel gives the engine the reason for its end. The names are private, in `supervisor`, `forked` and `engine`
too: `boot` looks at them, as `parts` has them, before it imports this module.
"""

import asyncio
import os
import signal
import socket
import threading
import time
from uuid import UUID

import anyio
from prefect.runner._flow_run_executor import FlowRunExecutorContext

from dbtpod.dbt import parent_death, process
from dbtpod.faststart import engine, tls
from dbtpod.faststart.first_contact import connecting_soon
from dbtpod.faststart.forked import Dbt, Engine
from dbtpod.faststart.preloaded import Preloaded
from dbtpod.faststart.supervisor import Supervisor
from dbtpod.pod import alone, contact, limits
from dbtpod.settings import add_to_environment, environment


def run(wire: socket.socket, dbt_pid: int) -> int:
    """Fork the engine and supervise it; both return here, each with its exit code.

    The fork comes before any thread or loop: what either needs of them, it starts itself.
    """
    if threading.active_count() > 1:
        raise RuntimeError(f"A thread was started before the fork: {threading.enumerate()}.")
    given = environment()
    flow_run_id = UUID(given["PREFECT__FLOW_RUN_ID"])
    scratch = limits.scratch(given)
    add_to_environment(limits.for_duckdb(scratch))
    tls.share()
    dbt_process = os.pidfd_open(dbt_pid)
    (control, to_engine), (status, to_flow) = os.pipe(), os.pipe()
    parent = os.getpid()
    if pid := os.fork():
        wire.close()
        os.close(control)
        os.close(status)
        dbt = Dbt(dbt_pid, dbt_process, to_flow)
        return anyio.run(_supervise, flow_run_id, pid, to_engine, dbt, scratch)
    parent_death.die_with_parent(parent)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    os.close(to_engine)
    os.close(to_flow)
    process.launch_by(Preloaded(wire, dbt_process, status).launch)
    return engine.run(flow_run_id, control)


async def _supervise(flow_run_id: UUID, pid: int, to_engine: int, dbt: Dbt, scratch: limits.Scratch | None) -> int:
    terminating = anyio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminating.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    async with FlowRunExecutorContext() as context:
        try:
            with connecting_soon(context.client):
                flow_run = await contact.read_async(context.client, flow_run_id, terminating)
        except Exception as error:  # raised through the context, it would be an ExceptionGroup that hides it
            contact.say(f"The flow run {flow_run_id} cannot start. {contact.cause(error)}")
            return 1
        if reason := alone.not_to_start(flow_run):
            contact.say(reason)
            return 0
        began = flow_run.state.timestamp.timestamp() if flow_run.state else time.time()
        of_pod = limits.Limits(limits.deadline(environment(), began), scratch)
        supervisor = Supervisor(context, flow_run, Engine(pid, to_engine, context.control_channel), of_pod)
        return await supervisor.run(terminating, dbt)
