"""One pod for one flow run: a second one, whatever made it, does nothing.

The run's state shows most of them; of two that start in the same moment, a kernel lock on the volume admits one.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from dbtpod import settings
from dbtpod.pod import contact
from dbtpod.timeout import Timeout
from dbtpod.warehouse import run_lock
from dbtpod.warehouse.volume import Volume

# The pod of a run that was sent back to the queue may still be stopping dbt when the next one starts.
HAND_OVER_SECONDS = 90.0
PAUSE_SECONDS = 1.0


class HeldByAnother(Exception):
    """Another pod holds this run and does not end."""


def not_to_start(flow_run: FlowRun, is_ours: bool = False) -> str:
    """Say why this pod has nothing to do; empty where it has. `is_ours`: this process holds the run's lock."""
    state = flow_run.state
    if state and state.is_final():
        return f"The flow run {flow_run.name} is {state.name} already: this pod does nothing."
    if state and (state.is_running() or (state.is_cancelling() and not is_ours and _is_held(flow_run))):
        return f"The flow run {flow_run.name} is {state.name} in another pod: this one does nothing."
    return ""


@contextmanager
def hold(client: SyncPrefectClient, flow_run: FlowRun, due: float = 0) -> Iterator[bool]:
    """Hold the run until the block ends; False where another pod runs it.

    One that holds it and does not run it, because it ends or waits until `due` (seconds since the epoch), is waited
    for. Where there is no volume that keeps a lock, the block runs without: the flow says what is wrong with it.
    """
    file = _file(flow_run)
    try:
        descriptor = run_lock.take(file) if file else None
    except OSError:
        file = descriptor = None
    wait = Timeout(max(0.0, due - time.time()) + HAND_OVER_SECONDS)
    while file and (reason := _obstacle(client, flow_run, file, descriptor, wait)) is not None:
        if reason:
            contact.say(reason)
            if descriptor is not None:
                run_lock.drop(file, descriptor)
            yield False
            return
        wait.pause(PAUSE_SECONDS)
        descriptor = run_lock.take(file)
    try:
        yield True
    finally:
        if file and descriptor is not None:
            run_lock.drop(file, descriptor)


def _obstacle(
    client: SyncPrefectClient, flow_run: FlowRun, file: Path, descriptor: int | None, wait: Timeout
) -> str | None:
    """Say why this pod has nothing to do; empty where it has to wait for the lock, None where it may begin.

    Asked once more with the lock held: another pod may have begun and ended the run since this one read its state.
    """
    if reason := not_to_start(client.read_flow_run(flow_run.id), is_ours=descriptor is not None):
        return reason
    if descriptor is not None:
        return None
    if wait.is_over:
        raise HeldByAnother(
            f"Another pod of this flow run has held {file} for {HAND_OVER_SECONDS:.0f} s and neither runs it nor "
            f"ends: look for it with `kubectl get pods -l prefect.io/flow-run-id={flow_run.id}` and delete it."
        )
    return ""


def _file(flow_run: FlowRun) -> Path | None:
    path = settings.duckdb_path(settings.environment())
    return path and run_lock.path(Volume(path).runs, str(flow_run.id))


def _is_held(flow_run: FlowRun) -> bool:
    file = _file(flow_run)
    if not file or not file.exists():
        return False
    descriptor = run_lock.take(file)
    if descriptor is None:
        return True
    run_lock.drop(file, descriptor)
    return False
