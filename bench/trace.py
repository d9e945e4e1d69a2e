"""When each stage of a build in a pod is reached, from the API, the node's journal and the run's log: `make trace`."""

import time
from collections.abc import Iterator
from datetime import datetime
from statistics import median
from typing import Any

from kube import until
from release import Release

from bench import cluster

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
# What a lever is worth is seen without it; each is a job variable or an environment variable of the run.
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "parsing anew (`DBT_PARTIAL_PARSE=false`)": {"env": {"DBT_PARTIAL_PARSE": "false"}},
    "Prefect's own command (`prefect flow-run execute`)": {"command": "prefect flow-run execute"},
}


def table() -> Iterator[str]:
    """Run each variant by hand, in turns; yield the medians of when each stage was reached, in seconds."""
    with cluster.installed() as release:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
        for _ in range(ROUNDS):
            for name, variables in VARIANTS.items():
                asked = time.time()
                run = release.prefect.completed(cluster.BUILD, **variables)
                found[name].append({key: at - asked for key, at in stages(release, run).items()})
    yield "| since the trigger, s | " + " | ".join(VARIANTS) + " |"
    yield "|---" * (len(VARIANTS) + 1) + "|"
    for key, stage in STAGES.items():
        columns = (f"{median(each[key] for each in rounds):.2f}" for rounds in found.values())
        yield f"| {stage} | {' | '.join(columns)} |"


def stages(release: Release, run: dict[str, Any]) -> dict[str, float]:
    """When that run reached each stage, in seconds since the epoch."""
    states = release.prefect.call("GET", f"flow_run_states/?flow_run_id={run['id']}")
    release.prefect.logged(run["id"], "Published")
    logs = release.prefect.all("logs", logs={"flow_run_id": {"any_": [run["id"]]}})
    nodes = until(lambda: _ended_nodes(release, run), 30, "the rows of the nodes")
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


def _ended_nodes(release: Release, run: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the run's nodes; none while Prefect's server still has some to write down."""
    nodes = release.prefect.nodes(run["id"])
    return nodes if all(each["end_time"] for each in nodes) else []


def seconds(text: str) -> float:
    """Seconds since the epoch of a time as Prefect writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
