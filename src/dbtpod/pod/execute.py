"""A flow run's pod by supported ways alone: Prefect's own command, with what it lacks around it.

It waits for the API before that command starts, runs it in one pod alone, and ends the run at the pod's deadline or
scratch limit once, with the reason, where Prefect's command would take Kubernetes' SIGTERM for an eviction.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT

from dbtpod.dbt import parent_death
from dbtpod.pod import alone, contact, limits
from dbtpod.settings import environment

POLL_SECONDS = 0.5
# Between two looks at the limits; kubelet looks at a pod's files less often.
LOOK_SECONDS = 5.0
_COMMAND = (sys.executable, "-m", "prefect", "flow-run", "execute")


def run(flow_run_id: UUID) -> int:
    """Run the flow run to its end and return the pod's exit code."""
    # The first process of a container ignores a signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with contact.opened(contact.connect_soon(httpx.Timeout(PREFECT_API_REQUEST_TIMEOUT.value()))) as client:
        try:
            flow_run = contact.read(client, flow_run_id, contact.say)
        except Exception as error:
            contact.say(f"The flow run {flow_run_id} cannot start. {contact.cause(error)}")
            return 1
        if reason := alone.not_to_start(flow_run):
            contact.say(reason)
            return 0
        with alone.hold(client, flow_run) as is_ours:
            return _execute(client, flow_run) if is_ours else 0


def _execute(client: SyncPrefectClient, flow_run: FlowRun) -> int:
    terminating = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: terminating.set())
    began = flow_run.state.timestamp.timestamp() if flow_run.state else time.time()
    given = environment()
    of_pod = limits.Limits(limits.deadline(given, began), limits.scratch(given))
    child = subprocess.Popen(
        parent_death.tied(*_COMMAND), env=given | limits.for_duckdb(of_pod.scratch), process_group=0
    )
    is_forwarded, next_look = False, time.monotonic() + LOOK_SECONDS
    while (code := child.poll()) is None:
        found = None
        if terminating.is_set() and not is_forwarded:
            if not (found := of_pod.behind_sigterm()):
                child.send_signal(signal.SIGTERM)
            is_forwarded = True
        elif time.monotonic() >= next_look:
            found, next_look = of_pod.exceeded(), time.monotonic() + LOOK_SECONDS
        if found:
            _fail(client, flow_run.id, found)
            # Prefect's command would set another state; dbt dies with its parent.
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return 0
        time.sleep(POLL_SECONDS)
    return code


def _fail(client: SyncPrefectClient, flow_run_id: UUID, found: limits.Ending) -> None:
    contact.say(found.message)
    if failed := found.state_after(client.read_flow_run(flow_run_id).state):
        # Forced, or the flow's own retries would start it again.
        client.set_flow_run_state(flow_run_id, failed, force=True)
