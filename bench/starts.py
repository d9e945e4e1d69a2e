"""How soon a build is done: ours beside a bare Job and CronJob of dbt, and beside the article's flow."""

import time
from collections.abc import Iterator
from typing import Any

from bench import baselines, cluster, trace
from bench.measure import ratio, spread
from release import BUILD, Release
from waiting import until

ROUNDS = 5
HEADER = "| | ours, s | the other, s | ratio | to reach |\n|---|---|---|---|---|"
OTHERS = "\n| | median (smallest to largest) |\n|---|---|"
# Of every two minutes one is ours and one the CronJob's, so that neither meets what the other leaves behind.
OUR_CRON, THEIR_CRON = "*/2 * * * *", "1-59/2 * * * *"
SCHEDULED_ROUNDS = 5
IDLE_SECONDS = 60
PEAK = "cat /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes 2>/dev/null | sed 's/^/peak /'"
# CPU seconds so far, and MiB that are no cache, by cgroup v2 or v1.
USAGE = """
from pathlib import Path
root = Path("/sys/fs/cgroup")
pairs = lambda path: dict(line.split() for line in path.read_text().splitlines())
if (root / "cpu.stat").exists():
    cpu, memory = int(pairs(root / "cpu.stat")["usage_usec"]) / 1e6, pairs(root / "memory.stat")["anon"]
else:
    cpu = int((root / "cpuacct/cpuacct.usage").read_text()) / 1e9
    memory = pairs(root / "memory/memory.stat")["total_rss"]
print(cpu, int(memory) / 2**20)
"""


def table() -> Iterator[str]:
    """Measure on a cluster of its own; yield the lines of two tables as they come."""
    with cluster.installed() as release:
        baselines.claim(release, "bare")
        baselines.install_article(release)
        first = release.prefect.completed(BUILD)
        bare = baselines.bare_template(release, "bare", first["id"])
        baselines.run_job(release, bare)  # the first builds from nothing
        release.prefect.completed(baselines.DEPLOYMENT)
        yield HEADER
        yield from _manual(release, bare)
        yield from _scheduled(release, bare)
        yield OTHERS
        yield from _resources(release, bare)


def _manual(release: Release, bare: dict[str, Any]) -> Iterator[str]:
    names = ("ours from trigger", "ours in pod", "bare from apply", "bare in pod", "article")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        asked, run = time.time(), release.prefect.completed(BUILD)
        [pod] = release.pods_of(run["id"])
        seconds["ours from trigger"].append(_at(run) - asked)
        seconds["ours in pod"].append(_at(run) - cluster.container_start(release, pod["metadata"]["name"]))
        asked, name = baselines.run_job(release, bare)
        ended = baselines.end_of(release, name)
        seconds["bare from apply"].append(ended - asked)
        seconds["bare in pod"].append(ended - cluster.container_start(release, name))
        asked, run = time.time(), release.prefect.completed(baselines.DEPLOYMENT)
        seconds["article"].append(_at(run) - asked)
    ours, bare_job = seconds["ours from trigger"], seconds["bare from apply"]
    yield row("in the pod, from its start: a bare Job", seconds["ours in pod"], seconds["bare in pod"], 1.05)
    yield row("by hand, from the trigger: a bare Job", ours, bare_job, 1.2)
    yield row("by hand, from the trigger: the article's flow, stock pool and worker", ours, seconds["article"], 0.35)


def _scheduled(release: Release, bare: dict[str, Any]) -> Iterator[str]:
    """Wait for the minutes to come: one is ours, the next the CronJob's."""
    deployment = _schedule_only(release, BUILD, OUR_CRON)
    baselines.start_cron(release, bare, THEIR_CRON)
    time.sleep(SCHEDULED_ROUNDS * 2 * 60)  # without looking
    until(lambda: len(baselines.ended_pods(release, "cron")) >= SCHEDULED_ROUNDS, 180, "the CronJob's runs")
    until(lambda: len(_by_schedule(release, deployment)) >= SCHEDULED_ROUNDS, 300, "the scheduled runs")
    runs = _by_schedule(release, deployment)[:SCHEDULED_ROUNDS]
    pods = baselines.ended_pods(release, "cron")[:SCHEDULED_ROUNDS]
    theirs = [_since_the_minute(baselines.end_of(release, pod)) for pod in pods]
    release.kubectl("delete", "cronjob", "bare")
    assert all(run["state"]["name"] == "Completed" for run in runs), runs
    yield row("by schedule, from its time: a CronJob", [_at(run) - _due(run) for run in runs], theirs, 0.4)
    starts = [_said(release, run, "Starting dbt build") - _due(run) for run in runs]
    yield f"\ndbt is started {spread(starts)} s after the scheduled time (to reach: 0 to 0.2)."


def _resources(release: Release, bare: dict[str, Any]) -> Iterator[str]:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        command = f'sh -c "python /opt/package/dbtpod/faststart/boot.py; {PEAK}"'
        [pod] = release.pods_of(release.prefect.completed(BUILD, command=command)["id"])
        until(lambda pod=pod: _has_said_peak(release, pod), 30, "the pod's peak")
        ours.append(cluster.peak_memory(release, pod["metadata"]["name"]))
        theirs.append(cluster.peak_memory(release, baselines.run_job(release, bare)[1]))
    yield f"| peak memory of a flow run's pod, MiB | {spread(ours)} |"
    yield f"| peak memory of the bare Job's, MiB | {spread(theirs)} |"
    for interval in (1, 2, 10):
        cluster.set_query_interval(release, interval)
        for name, (cpu, memory) in idle(release, "server", "worker").items():
            what = f"{name} without runs, where the worker asks every {interval} s"
            yield f"| {what} | {cpu:.1%} of a core, {memory:.0f} MiB |"


def idle(release: Release, *names: str) -> dict[str, tuple[float, float]]:
    """What share of a core and how much memory each component takes while nothing runs."""
    time.sleep(IDLE_SECONDS / 2)  # until what its start left to do is done
    before = {name: usage(release, name) for name in names}
    time.sleep(IDLE_SECONDS)
    after = {name: usage(release, name) for name in names}
    return {name: ((after[name][0] - before[name][0]) / IDLE_SECONDS, after[name][1]) for name in names}


def usage(release: Release, name: str) -> tuple[float, float]:
    """The CPU seconds that a component has used so far, and the MiB that it holds."""
    said = release.kubectl("exec", f"deploy/dbtpod-{name}", "-c", name, "--", "python", "-c", USAGE)
    cpu, memory = said.split()
    return float(cpu), float(memory)


def _schedule_only(release: Release, name: str, cron: str) -> str:
    """Have that deployment run by that schedule, and no other by any; its id."""
    found = release.prefect.deployments()
    for each, deployment in found.items():
        for schedule in deployment["schedules"]:
            path = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
            changed = {"active": each == name, "schedule": {"cron": cron, "timezone": "UTC"}}
            release.prefect.call("PATCH", path, **changed)
    return str(found[name]["id"])


def _by_schedule(release: Release, deployment: str) -> list[dict[str, Any]]:
    """The runs that a schedule made and that have ended, the oldest first."""
    runs = release.prefect.all("flow_runs", flow_runs={"deployment_id": {"any_": [deployment]}})
    ended = [run for run in runs if run["auto_scheduled"] and run["end_time"]]
    return sorted(ended, key=_due)


def _said(release: Release, run: dict[str, Any], text: str) -> float:
    logs = release.prefect.all("logs", logs={"flow_run_id": {"any_": [run["id"]]}})
    return min(trace.seconds(line["timestamp"]) for line in logs if line["message"].startswith(text))


def _has_said_peak(release: Release, pod: dict[str, Any]) -> bool:
    return "\npeak " in release.kubectl("logs", pod["metadata"]["name"])


def row(name: str, ours: list[float], theirs: list[float], goal: float) -> str:
    """A line of the table that HEADER begins."""
    return f"| {name} | {spread(ours)} | {spread(theirs)} | {ratio(ours, theirs)} | {goal} |"


def _at(run: dict[str, Any]) -> float:
    return trace.seconds(run["state"]["timestamp"])


def _due(run: dict[str, Any]) -> float:
    return trace.seconds(run["expected_start_time"])


def _since_the_minute(at: float) -> float:
    return at % 60
