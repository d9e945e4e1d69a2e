"""When each stage of a build in a pod is reached, from the API, the node's journal and the run's log: `make trace`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from bench import cluster
from release import BUILD, Release
from waiting import until

ROUNDS = 5
STAGES = {
    "taken": "the worker has taken the run",
    "container": "the container is started",
    "flow": "the flow begins",
    "dbt": "dbt is started",
    "parsed": "dbt has the project",
    "first": "the first node begins",
    "last": "the last node has ended",
    "published": "the build is published",
    "completed": "the run is Completed",
    "ended": "the container has ended",
}
# More than the worker's prefetch, so that it takes the run as soon as it would take one of a schedule.
AHEAD_SECONDS = 13
# As `jobs.fastStart: false` has it.
FAST_START_OFF: dict[str, Any] = {"command": "dbtpod execute"}
# Seconds from the request to the run's time, and its job variables.
VARIANTS: dict[str, tuple[int, dict[str, Any]]] = {
    "by schedule": (AHEAD_SECONDS, {}),
    "by hand": (0, {}),
    "by schedule, fast start off": (AHEAD_SECONDS, FAST_START_OFF),
    "by hand, fast start off": (0, FAST_START_OFF),
}


def table() -> Iterator[str]:
    """Run each variant in turns; yield the medians of when each stage was reached, in seconds."""
    with cluster.installed() as release:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
        for _ in range(ROUNDS):
            for name, (ahead, variables) in VARIANTS.items():
                due = datetime.now(UTC) + timedelta(seconds=ahead)
                run = release.prefect.ended(start(release, due, variables))
                found[name].append({key: at - due.timestamp() for key, at in stages(release, run).items()})
    yield "| since its time, s | " + " | ".join(VARIANTS) + " |"
    yield "|---" * (len(VARIANTS) + 1) + "|"
    for key, stage in STAGES.items():
        columns = (f"{median(each[key] for each in rounds):.2f}" for rounds in found.values())
        yield f"| {stage} | {' | '.join(columns)} |"


def start(release: Release, due: datetime, variables: dict[str, Any]) -> str:
    """Ask for a run at that time; its id."""
    key = release.prefect.call("GET", f"deployments/name/{BUILD}")["id"]
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
    path = f"deployments/{key}/create_flow_run"
    run: str = release.prefect.call("POST", path, state=state, job_variables=variables)["id"]
    return run


def stages(release: Release, run: dict[str, Any]) -> dict[str, float]:
    """When that run reached each stage, in seconds since the epoch."""
    states = release.prefect.call("GET", f"flow_run_states/?flow_run_id={run['id']}")
    release.prefect.logged(run["id"], "Published")
    logs = release.prefect.all("logs", logs={"flow_run_id": {"any_": [run["id"]]}})
    nodes = until(lambda: ended_nodes(release, run), 30, "the task runs of the nodes")
    [pod] = release.pods_of(run["id"])

    def said(text: str) -> float:
        return min(seconds(each["timestamp"]) for each in logs if each["message"].startswith(text))

    return {
        "taken": next(seconds(each["timestamp"]) for each in states if each["type"] == "PENDING"),
        "container": cluster.container_start(release, pod["metadata"]["name"]),
        "flow": next(seconds(each["timestamp"]) for each in states if each["type"] == "RUNNING"),
        "dbt": said("Starting dbt"),
        "parsed": said("Found "),
        "first": min(seconds(each["start_time"]) for each in nodes if each["start_time"]),
        "last": max(seconds(each["end_time"]) for each in nodes),
        "published": said("Published"),
        "completed": seconds(run["state"]["timestamp"]),
        "ended": cluster.container_end(release, pod["metadata"]["name"]),
    }


def ended_nodes(release: Release, run: dict[str, Any]) -> list[dict[str, Any]]:
    """The task runs of the run's nodes; none while Prefect's server still has some to write down."""
    nodes = release.prefect.nodes(run["id"])
    return nodes if all(each["end_time"] for each in nodes) else []


def seconds(text: str) -> float:
    """Seconds since the epoch of a time as Prefect writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
