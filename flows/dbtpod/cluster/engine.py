"""The process of Prefect's engine for one flow run: what `python -m prefect.engine` does, forked from `supervise`."""

import json
import os
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect._internal.control_listener import configure_from_env
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.engine import _drive_run_flow_result, handle_engine_signals
from prefect.flow_engine import AsyncFlowRunEngine, FlowRunEngine, load_flow, load_flow_run, run_flow
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.logging.loggers import flow_run_logger

from dbtpod.page import artifacts

_SET_WORKING_DIRECTORY = "prefect.deployments.steps.set_working_directory"


def run(flow_run_id: UUID, control: int) -> int:
    """Run the flow once the supervisor says over `control` how it will be heard; a run that fails exits by itself."""
    os.environ["PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"] = "false"  # the supervisor runs them
    with handle_engine_signals(flow_run_id):
        flow_run = load_flow_run(flow_run_id)
        logger = flow_run_logger(flow_run)
        try:
            flow = _load_flow(flow_run)
        except Exception:
            logger.exception("Unexpected exception encountered when trying to load flow")
            raise
        with os.fdopen(control, "rb") as file:
            told = file.read()
        if not told:  # the supervisor found that the run is not to start
            return 0
        os.environ.update(json.loads(told))
        configure_from_env()
        if flow_run.state and (due := flow_run.state.state_details.scheduled_time):
            for engine in (FlowRunEngine, AsyncFlowRunEngine):
                engine.begin_run = _not_before(due.timestamp(), engine.begin_run)  # type: ignore
        result = run_flow(flow, flow_run=flow_run, error_logger=logger)  # type: ignore[arg-type]
        _drive_run_flow_result(flow, result)
    return 0


def _not_before(due: float, begin_run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Have the engine, ready with all else, wait for that time, in seconds since the epoch, before it begins the run.

    Prefect's server tells it how long to wait in whole seconds: it would begin up to half of one early or late.
    """

    def begin_run_in_time(engine: Any) -> Any:
        time.sleep(max(0.0, due - time.time()))
        return begin_run(engine)

    return begin_run_in_time


def _load_flow(flow_run: FlowRun) -> Flow[..., Any]:
    """Load the flow where it is, if pulling it means no more than entering its folder; else as Prefect does."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment(flow_run.deployment_id) if flow_run.deployment_id else None
    if deployment:
        os.environ[artifacts.DEPLOYMENT] = deployment.name
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
