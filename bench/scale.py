"""How far one release goes: a long queue behind the one writer, and many deployments on schedules."""

import shlex
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from api import FINAL
from bench import baselines, cluster, starts, trace
from bench.measure import spread
from kube import REPO
from release import BUILD, OURS, Release

T = TypeVar("T")

RUNS = 500
DEPLOYMENTS = 1000
POLL_SECONDS = 5
SECONDS_PER_RUN = 15
SECONDS_PER_DEPLOYMENT = 5
QUEUE = "work_pools/dbtpod/queues/duckdb-writer"
COMPONENTS = ("server", "worker")
# A flow run without a flow: the pod says that it runs and that it is done. Like Prefect's own client, it tries again
# where SQLite is too busy or the server away.
POD = """
import base64, json, os, time, urllib.error, urllib.request
url = f"{os.environ['PREFECT_API_URL']}/flow_runs/{os.environ['PREFECT__FLOW_RUN_ID']}/set_state"
auth = base64.b64encode(os.environ["PREFECT_API_AUTH_STRING"].encode()).decode()
headers = {"Authorization": f"Basic {auth}", "Content-Type": "application/json"}
def enter(state, tries):
    body = json.dumps({"state": {"type": state} }).encode()
    try:
        urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60).read()
    except urllib.error.URLError as error:
        if getattr(error, "code", 503) != 503 or not tries:
            raise
        time.sleep(1)
        enter(state, tries - 1)
enter("RUNNING", 60)
enter("COMPLETED", 60)
"""
FLOW = '''"""What each of the deployments runs."""

from prefect import flow


@flow
def nothing() -> None:
    """Do nothing."""
'''


def queue() -> Iterator[str]:
    """Measure the queue on a cluster of its own; yield the lines of a table as they come."""
    with cluster.installed() as release:
        _stop_schedules(release)
        yield from _queue(release)


def deployments() -> Iterator[str]:
    """Measure the registration on a cluster of its own; yield the lines of two tables as they come."""
    with cluster.installed() as release:
        _stop_schedules(release)
        yield from _deployments(release)


def _stop_schedules(release: Release) -> None:
    """Have no run come between, and none be due while a share of a core is measured."""
    for deployment in release.prefect.deployments().values():
        for schedule in deployment["schedules"]:
            path = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
            release.prefect.call("PATCH", path, active=False)


def _queue(release: Release) -> Iterator[str]:
    """Let that many runs wait in the writers' queue, and open it."""
    release.prefect.call("PATCH", QUEUE, is_paused=True)
    waiting = _make_runs(release)
    used = {name: starts.usage(release, name)[0] for name in COMPONENTS}
    release.prefect.call("PATCH", QUEUE, is_paused=False)
    opened = time.time()
    _wait_for_ends(release, waiting)
    cpu = {name: starts.usage(release, name)[0] - before for name, before in used.items()}
    runs = _runs(release, waiting)
    taken = max(_entered(run, "COMPLETED", opened)[-1] for run in runs) - opened
    yield f"| {RUNS} runs in the writers' queue | measured | to reach |\n|---|---|---|"
    yield from _found(release, runs)
    yield f"| from the first's turn until the last is Completed, s | {taken:.0f} | |"
    yield f"| runs per minute | {60 * RUNS / taken:.1f} | |"
    for name, seconds in cpu.items():
        yield f"| CPU of the {name}, s | {seconds:.1f}, {seconds / RUNS:.2f} a run, {seconds / taken:.0%} of a core | |"


def _make_runs(release: Release) -> list[str]:
    """Trigger the runs one after the other; their ids in that order."""
    key = release.prefect.call("GET", f"deployments/name/{BUILD}")["id"]
    variables = {"command": shlex.join(["python", "-I", "-S", "-c", POD])}
    path = f"deployments/{key}/create_flow_run"
    return [release.prefect.call("POST", path, job_variables=variables)["id"] for _ in range(RUNS)]


def _wait_for_ends(release: Release, waiting: Sequence[str]) -> None:
    """Wait until no run is left, or longer than all of them can take: the table says what is missing."""
    ended = {"id": {"any_": list(waiting)}, "state": {"type": {"any_": sorted(FINAL)}}}

    def are_all_ended() -> bool:
        try:
            return bool(release.prefect.call("POST", "flow_runs/count", flow_runs=ended) == RUNS)
        except httpx.TransportError:  # a port-forward does not live that long
            release.disconnect()
            return False

    _looked(are_all_ended, 120 + RUNS * SECONDS_PER_RUN)


def _runs(release: Release, waiting: Sequence[str]) -> list[dict[str, Any]]:
    """The runs in the order in which they were made, each with all of its states."""
    found = {run["id"]: run for run in release.prefect.all("flow_runs", flow_runs={"id": {"any_": list(waiting)}})}
    for key, run in found.items():
        run["states"] = release.prefect.call("GET", f"flow_run_states/?flow_run_id={key}")
    return [found[key] for key in waiting]


def _found(release: Release, runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What the queue must not do, counted."""
    completed = sum(run["state"]["name"] == "Completed" for run in runs)
    jobs = Counter(
        job["metadata"]["labels"]["prefect.io/flow-run-id"]
        for job in release.cluster.objects("jobs", release.namespace, f"{OURS}flow-run")
    )
    twice = sum(len(_entered(run, "RUNNING")) > 1 or jobs[run["id"]] > 1 for run in runs)
    begun = [run for run in runs if _entered(run, "RUNNING") and _entered(run, "COMPLETED")]
    turns = [(_entered(run, "RUNNING")[0], _entered(run, "COMPLETED")[-1]) for run in begun]
    between = [later[0] - earlier[1] for earlier, later in pairwise(sorted(turns))]
    yield f"| Completed | {completed} of {RUNS} | {RUNS} |"
    yield f"| started twice: another Running, or another Job | {twice} | 0 |"
    yield f"| begun before one that was triggered earlier | {sum(a > b for a, b in pairwise(turns))} | 0 |"
    yield f"| begun while another was Running | {sum(gap < 0 for gap in between)} | 0 |"
    yield f"| from one's end until the next is Running, s | {spread(between)} | |"


def _entered(run: dict[str, Any], kind: str, *otherwise: float) -> Sequence[float]:
    """When a run entered a state of that type, as often as it did."""
    times = sorted(trace.seconds(state["timestamp"]) for state in run["states"] if state["type"] == kind)
    return times or otherwise


def _deployments(release: Release) -> Iterator[str]:
    """Register that many in place of the project's own: the last that is done with this release."""
    few, memory = starts.idle(release, "server")["server"]
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        release.kubectl("create", "configmap", "many", f"--from-file={folder}")
    yield f"| {DEPLOYMENTS} deployments, each on a schedule | s | CPU of the server, s |\n|---|---|---|"
    for what in ("registered anew", "registered again, nothing changes"):
        before, pod = starts.usage(release, "server")[0], _register(release)
        cpu = starts.usage(release, "server")[0] - before
        took = cluster.container_end(release, pod) - cluster.container_start(release, pod)
        yield f"| {what} | {took:.1f} | {cpu:.1f} |"
    assert len(release.prefect.deployments()) == DEPLOYMENTS
    planned = release.prefect.call("POST", "flow_runs/count", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})
    many, more_memory = starts.idle(release, "server")["server"]
    yield "\n| the server without runs | of a core | MiB |\n|---|---|---|"
    yield f"| no schedule | {few:.1%} | {memory:.0f} |"
    yield f"| {DEPLOYMENTS} schedules, {planned} runs planned | {many:.1%} | {more_memory:.0f} |"


def _register(release: Release) -> str:
    """Register as the chart's hook does, but that file; the pod's name. A port-forward would not live that long."""
    [hook] = release.cluster.objects("jobs", release.namespace, f"{OURS}register")
    pod = hook["spec"]["template"]
    ours = {key: value for key, value in pod["metadata"]["labels"].items() if key.startswith("app.kubernetes.io/")}
    [container] = pod["spec"]["containers"]
    container["args"].append("--file=/many/prefect.yaml")
    container["volumeMounts"].append({"name": "many", "mountPath": "/many"})
    pod["spec"]["volumes"].append({"name": "many", "configMap": {"name": "many"}})
    # In its annotations is what it reads as files.
    metadata = {"labels": ours, "annotations": pod["metadata"]["annotations"]}
    template = {"metadata": metadata, "spec": pod["spec"]}
    name = f"many-{time.time_ns()}"
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": {"app": "many"}}}
    baselines.apply(release, job | {"spec": {"backoffLimit": 0, "template": template}})
    seconds = 120 + DEPLOYMENTS * SECONDS_PER_DEPLOYMENT
    [ended] = _looked(lambda: baselines.ended(release, f"job-name={name}"), seconds)
    said = release.kubectl("logs", ended)
    assert said.count("\nnothing/nothing-") == DEPLOYMENTS, said  # the table at its end
    return ended


def _looked(condition: Callable[[], T], seconds: float) -> T:
    """Look until there is something, or the time is over; rarely, so as not to load what is measured."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return found


def _write(folder: Path) -> None:
    """Write a prefect.yaml with that many deployments of one flow."""
    (folder / "nothing.py").write_text(FLOW)
    content = yaml.safe_load((REPO / "prefect.yaml").read_text())
    content["deployments"] = [_deployment(number) for number in range(DEPLOYMENTS)]
    (folder / "prefect.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def _deployment(number: int) -> dict[str, Any]:
    """One that is due at a minute of its own, but not in the next two hours: there is no such flow in the image."""
    hour = (datetime.now(UTC).hour + 3 + number % 20) % 24
    return {
        "name": f"nothing-{number:04}",
        "entrypoint": "nothing.py:nothing",
        "schedules": [{"slug": "daily", "cron": f"{number // 20 % 60} {hour} * * *", "timezone": "UTC"}],
        "work_pool": {"name": "dbtpod", "work_queue_name": "duckdb-writer"},
    }
