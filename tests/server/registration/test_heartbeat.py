"""A run whose pod is gone is ended by the automations that registration makes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events import Event
from prefect.events.clients import get_events_client
from prefect.states import AwaitingRetry, Cancelling, Completed, Running, State

from dbtpod.registration import heartbeat
from registering import ask, deployments, run
from waiting import until


def test_a_run_whose_pod_is_gone_is_ended_and_no_healthy_one(api: None, project: Path) -> None:
    assert run(project) == 0
    daily_id, hourly_id = (deployments()[name].id for name in ("shop-daily", "shop-hourly"))

    async def start(client: PrefectClient) -> dict[str, FlowRun]:
        for automation in heartbeat.automations("shop", [daily_id], timedelta(seconds=10)):
            await heartbeat.ensure(client, automation)
        afterwards: dict[str, State[Any] | None] = {
            "gone": None,
            "cancelling": Cancelling(),
            "completed": Completed(),
            "rescheduled": AwaitingRetry(),
            "of another deployment": None,
        }
        runs = {}
        for name, state in afterwards.items():
            of = hourly_id if name == "of another deployment" else daily_id
            runs[name] = await client.create_flow_run_from_deployment(of, state=Running())
            await beat(runs[name])
            if state:
                await client.set_flow_run_state(runs[name].id, state, force=True)
        return runs

    runs = ask(start)

    def state(name: str) -> StateType | None:
        return ask(lambda client: client.read_flow_run(runs[name].id)).state_type

    until(lambda: state("gone") == StateType.CRASHED)
    until(lambda: state("cancelling") == StateType.CANCELLED)
    assert state("completed") == StateType.COMPLETED
    assert state("rescheduled") == StateType.SCHEDULED
    assert state("of another deployment") == StateType.RUNNING


async def beat(run: FlowRun) -> None:
    """A heartbeat as Prefect's flow engine sends it."""
    async with get_events_client() as events:
        await events.emit(
            Event(
                event="prefect.flow-run.heartbeat",
                resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"},
                related=[
                    {"prefect.resource.id": f"prefect.flow.{run.flow_id}", "prefect.resource.role": "flow"},
                    {
                        "prefect.resource.id": f"prefect.deployment.{run.deployment_id}",
                        "prefect.resource.role": "deployment",
                    },
                ],
            )
        )
