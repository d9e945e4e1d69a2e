"""What `dbtpod run` does: the daily build on this machine, with Prefect's embedded server, and what to do next."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import Flow, State
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import SyncClientContext
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import run_flow
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_HOME
from prefect.states import Crashed

from dbtpod import settings
from dbtpod.warehouse import run_lock, warehouse
from dbtpod.warehouse.warehouse import Warehouse

ENTRYPOINT = "flows/flows.py:dbt_build"
_DIED = "Its process on this machine ended without a word: it was killed, or the machine stopped."


def run() -> int:
    """Run the flow and print where the result is; the exit code is 0 only where it completed."""
    kept = warehouse.of(settings.from_environment())
    kept.volume.check(writes=True)
    flow: Flow[[], Any] = load_flow_from_entrypoint(ENTRYPOINT, use_placeholder_flow=False)
    with SyncClientContext.get_or_create() as context:
        _end_dead_runs(context.client, kept.volume.runs)
        state = _run(context.client, flow, kept.volume.runs)
    if not state.is_completed():
        print(f"\n{flow.name} {state.name}: {state.message}", file=sys.stderr)
        return 1
    print(_next_steps(str(state.message), kept))
    return 0


def _run(client: SyncPrefectClient, flow: Flow[[], Any], runs: Path) -> State[Any]:
    """Run the flow with a lock that shows the next run whether this process still lives."""
    flow_run = client.create_flow_run(flow)
    file = run_lock.path(runs, str(flow_run.id))
    descriptor = run_lock.take(file)
    try:
        return cast("State[Any]", run_flow(flow, flow_run=flow_run, return_type="state"))
    finally:
        if descriptor is not None:
            run_lock.drop(file, descriptor)


def _end_dead_runs(client: SyncPrefectClient, runs: Path) -> None:
    """End the flow runs whose process here was killed: nothing else does, and they would stay Running."""
    for run_id, file, descriptor in run_lock.left_behind(runs):
        with suppress(ObjectNotFound):
            flow_run = client.read_flow_run(UUID(run_id))
            if flow_run.state is None or not flow_run.state.is_final():
                client.set_flow_run_state(flow_run.id, Crashed(message=_DIED), force=True)
                print(f"The flow run {flow_run.name} is Crashed: {_DIED}")
        run_lock.drop(file, descriptor)


def _next_steps(outcome: str, kept: Warehouse) -> str:
    home = Path(str(PREFECT_HOME.value()))
    return f"""
dbt-build is done: {outcome}
The warehouse: {kept.readable}

Next:
  what was published DUCKDB_PATH={kept.volume.database} .venv/bin/dbtpod generations list
  the Prefect UI     PREFECT_HOME={_short(home)} .venv/bin/prefect server start    and open http://127.0.0.1:4200
  change the models  dbt_project/models, then run this again
  on a cluster       make up"""


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
