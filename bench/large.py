"""How soon one model of a large project begins: in the pod of a flow run, and in a bare Job of the same image."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kube
from bench import baselines, cluster, project, starts, trace
from dbtpod.dbt import events
from kube import command
from release import BUILD, Release
from waiting import until

MODELS = 2000
ROUNDS = 5
IMAGE = f"{kube.IMAGE}-large"
GOAL = 1.1


def table() -> Iterator[str]:
    """Measure on a cluster of its own; yield the lines of a markdown table."""
    with cluster.installed() as release:
        _build()
        release.cluster.load(IMAGE)
        baselines.claim(release, "bare")
        first = _run(release)  # the first of each builds from nothing
        bare = baselines.bare_template(release, "bare", first["id"], "dbt build --select model_0000")
        # dbt's log as the flow reads it: a text has whole seconds only.
        bare["spec"]["containers"][0]["env"].append({"name": "DBT_LOG_FORMAT", "value": "json"})
        baselines.run_job(release, bare)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(_ours(release))
            theirs.append(_bare(release, bare))
    yield starts.HEADER
    yield starts.row(f"from the container's start to the first node's, {MODELS:,} models", ours, theirs, GOAL)


def _build() -> None:
    """Bake the project into an image, and its flow into one on top."""
    whole = f"{IMAGE}-project"
    with tempfile.TemporaryDirectory() as folder:
        project.write(Path(folder) / "project", MODELS)
        command("make", "image", f"IMAGE={whole}", f"DBT_PROJECT={folder}/project", seconds=900)
    command("docker", "build", "--build-arg", f"IMAGE={whole}", "--tag", IMAGE, "bench/one_model", seconds=300)


def _run(release: Release) -> dict[str, Any]:
    return release.prefect.completed(BUILD, image=IMAGE)


def _ours(release: Release) -> float:
    """Seconds from the container's start to the start of the node's row."""
    run = _run(release)
    [pod] = release.pods_of(run["id"])
    said = release.pod_log(run["id"])
    assert "Unable to do partial parsing" not in said, said
    nodes = until(lambda: trace.ended_nodes(release, run), 30, "the task run of the node")
    begun = min(trace.seconds(node["start_time"]) for node in nodes)
    return begun - cluster.container_start(release, pod["metadata"]["name"])


def _bare(release: Release, template: dict[str, Any]) -> float:
    """Seconds from the container's start to the node's start by dbt's own clock."""
    _, pod = baselines.run_job(release, template)
    baselines.end_of(release, pod)  # fails where dbt did not build it from its parse state
    lines = release.kubectl("logs", pod).splitlines()
    found = [event for line in lines for event in events.parse(line) if isinstance(event, events.NodeStarted)]
    return min(event.at.timestamp() for event in found) - cluster.container_start(release, pod)
