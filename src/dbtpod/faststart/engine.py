"""The process of Prefect's engine for one flow run: what `python -m prefect.engine` does, forked from `supervise`."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from uuid import UUID

# Prefect imports these when a flow begins and when it first calls a task: between the run's time and dbt's start.
import prefect.task_engine
import prefect.utilities.visualization  # noqa: F401
import pydantic.v1  # noqa: F401
from prefect._internal.control_listener import configure_from_env
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.engine import _drive_run_flow_result, handle_engine_signals
from prefect.exceptions import Abort
from prefect.flow_engine import AsyncFlowRunEngine, FlowRunEngine, load_flow, run_flow
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.logging.loggers import LoggingAdapter, flow_run_logger
from prefect.states import Crashed
from prefect.utilities.engine import propose_state_sync

from dbtpod.faststart import parts
from dbtpod.faststart.first_contact import connecting_soon
from dbtpod.pod import alone, contact
from dbtpod.settings import add_to_environment
from dbtpod.ui import artifacts

_SET_WORKING_DIRECTORY = "prefect.deployments.steps.set_working_directory"


def run(flow_run_id: UUID, control: int) -> int:
    """Run the flow once the supervisor says over `control` how it will be heard; a run that fails exits by itself."""
    # The supervisor runs them.
    add_to_environment({"PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false"})
    with handle_engine_signals(flow_run_id), contact.opened() as client:
        # The supervisor waits for the API too, behind Prefect's websockets, which have a patience of their own.
        with connecting_soon(client):
            flow_run = contact.read(client, flow_run_id, contact.say)
        if alone.not_to_start(flow_run):
            return 0
        logger = flow_run_logger(flow_run)
        with _reported(client, flow_run_id, logger):
            flow = _load_flow(client, flow_run)
        with os.fdopen(control, "rb") as file:
            received = file.read()
        if not received:  # the supervisor found that the run is not to start
            return 0
        add_to_environment(json.loads(received))
        configure_from_env()
        due = _due(flow_run)
        with ExitStack() as stack:
            with _reported(client, flow_run_id, logger):
                if not stack.enter_context(alone.hold(client, flow_run, due)):
                    return 0
            for engine in (FlowRunEngine, AsyncFlowRunEngine) if parts.BEGIN_RUN.is_usable() else ():
                engine.begin_run = _not_before(due, engine.begin_run)  # type: ignore
            result = run_flow(flow, flow_run=flow_run, error_logger=logger)  # type: ignore[arg-type]
            _drive_run_flow_result(flow, result)
    return 0


@contextmanager
def _reported(client: SyncPrefectClient, flow_run_id: UUID, logger: LoggingAdapter) -> Iterator[None]:
    """Have the run's state say what kept it from starting; of its end alone, the supervisor knows an exit code."""
    try:
        yield
    except Exception as error:
        logger.exception("The flow run cannot start.")
        message = f"The flow run could not start. {type(error).__name__}: {error}"
        with suppress(Abort):
            propose_state_sync(client, Crashed(message=message), flow_run_id)
        raise


def _due(flow_run: FlowRun) -> float:
    due = flow_run.state and flow_run.state.state_details.scheduled_time
    return due.timestamp() if due else 0.0


def _not_before(due: float, begin_run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Have the engine, ready with all else, wait for that time, in seconds since the epoch, before it begins the run.

    Prefect's server answers how long to wait in whole seconds: it would begin up to half of one early or late.
    """

    def begin_run_in_time(engine: Any) -> Any:
        time.sleep(max(0.0, due - time.time()))
        return begin_run(engine)

    return begin_run_in_time


def _load_flow(client: SyncPrefectClient, flow_run: FlowRun) -> Flow[..., Any]:
    """Load the flow where it is, if pulling it means no more than entering its folder; else as Prefect does."""
    deployment = client.read_deployment(flow_run.deployment_id) if flow_run.deployment_id else None
    if deployment:
        add_to_environment({artifacts.DEPLOYMENT: deployment.name})
    steps = deployment and deployment.pull_steps
    if (
        not deployment
        or not deployment.entrypoint
        or not steps
        or any(list(s) != [_SET_WORKING_DIRECTORY] for s in steps)
    ):
        return load_flow(flow_run)
    for step in steps:
        os.chdir(step[_SET_WORKING_DIRECTORY]["directory"])
    return load_flow_from_entrypoint(deployment.entrypoint, use_placeholder_flow=False)
