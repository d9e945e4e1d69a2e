"""What `dbtpod prove` does, which `helm test` runs: a deployment is run to its end; the reader has to be healthy."""

from collections.abc import Callable
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import DeploymentResponse

from dbtpod.errors import SettingsError
from dbtpod.timeout import Timeout

# Of the deployment in prefect.yaml whose run proves that all works together.
TAG = "helm-test"
_PAUSE_SECONDS = 2.0
# Its pod is Ready when helm test begins; a pod that is replaced meanwhile, or a new network policy, takes seconds.
_READER_SECONDS = 30.0


def prove(pool: str, seconds: float, say: Callable[[str], None]) -> int:
    """Run the deployments of the pool that have the tag; the exit code is 0 where each of them Completed in that time.

    SettingsError where none has it.
    """
    with get_client(sync_client=True) as client:
        chosen = _chosen(client, pool)
        runs = {one.name: client.create_flow_run_from_deployment(one.id).id for one in chosen}
        wait = Timeout(seconds)
        states = {name: _end(client, run, wait) for name, run in runs.items()}
    for name, state in states.items():
        say(f"{name}: {state.name} {state.message or ''}".rstrip())
    return 0 if all(state.is_completed() for state in states.values()) else 1


def prove_reader(address: str, say: Callable[[str], None], seconds: float = _READER_SECONDS) -> int:
    """Ask the reader whether it is healthy; the exit code is 0 where it is."""
    wait = Timeout(seconds)
    while (problem := _unhealthy(address)) and not wait.is_over:
        wait.pause(_PAUSE_SECONDS)
    say(f"reader: {problem or 'healthy'}")
    return 1 if problem else 0


def _unhealthy(address: str) -> str:
    try:
        answer = httpx.get(f"{address}/health", timeout=10)
    except httpx.HTTPError as error:
        return f"{address} does not answer: {type(error).__name__} {error}".strip()
    return "" if answer.is_success else f"{address}/health answers {answer.status_code} {answer.text[:200]}".strip()


def _chosen(client: SyncPrefectClient, pool: str) -> list[DeploymentResponse]:
    found = client.read_deployments(
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG])),
    )
    if not found:
        raise SettingsError(
            f"No deployment of the work pool {pool!r} has the tag {TAG!r}: give it, in prefect.yaml, to the one whose "
            "run proves the install."
        )
    return found


def _end(client: SyncPrefectClient, run: UUID, wait: Timeout) -> State:
    """Wait for a run's end, and return its state at the end of the wait."""
    while True:
        state = client.read_flow_run(run).state
        if state and (state.is_final() or wait.is_over):
            return state
        wait.pause(_PAUSE_SECONDS)
