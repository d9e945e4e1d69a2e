"""How soon a build is done: ours beside a bare Job and CronJob of dbt, and beside the usual flow.

`table` has the fast start as a whole and off, `parts_table` each part of it: what is compared is in the same rounds of
the same run.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench import baselines, cluster, memory, trace
from bench.measure import ratio, spread
from dbtpod.faststart import parts
from release import BUILD, Release
from waiting import until

ROUNDS = 5
HEADER = "| | ours, s | the other, s | ratio | to reach |\n|---|---|---|---|---|"
PARTS = (
    "| | in the pod, s | ratio to a bare Job | by schedule, s | ratio to a CronJob | in the pod, ratio to all parts "
    "| by schedule, ratio to all parts |\n|---|---|---|---|---|---|---|"
)
OTHERS = "\n| | median (smallest to largest) | to reach |\n|---|---|---|"
IDLE_SECONDS = 60
FAST, OFF = "all parts", "fast start off"
# What a pod runs, for commands around it.
COMMANDS = {FAST: "python /opt/package/dbtpod/faststart/boot.py", OFF: trace.FAST_START_OFF["command"]}
# What is compared: the job variables of a run. The supervisor's part is the rest of the fast start.
WHOLE: dict[str, dict[str, Any]] = {FAST: {}, OFF: trace.FAST_START_OFF}
EACH: dict[str, dict[str, Any]] = {
    FAST: {},
    **{
        f"without {part.name}": {"env": {parts.WITHOUT: part.name}}
        for part in parts.PARTS
        if part is not parts.SUPERVISOR
    },
}
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


@dataclass
class _Seconds:
    """Of each round, by what was measured."""

    in_pod: list[float] = field(default_factory=list)
    by_hand: list[float] = field(default_factory=list)
    by_schedule: list[float] = field(default_factory=list)


def table() -> Iterator[str]:
    """Measure on a cluster of its own; yield the lines of two tables as they come."""
    with cluster.installed() as release:
        first, bare = _prepared(release)
        baselines.install_article(release)
        release.prefect.completed(baselines.DEPLOYMENT)
        yield from _starts(release, bare)
        yield OTHERS
        yield from _resources(release, bare, first)


def parts_table() -> Iterator[str]:
    """Measure the fast start without each of its parts, on a cluster of its own; yield the table's lines."""
    with cluster.installed() as release:
        _, bare = _prepared(release)
        ours, job = {name: _Seconds() for name in EACH}, _Seconds()
        for _ in range(ROUNDS):
            _measure_job(release, bare, job)
            for name, variables in EACH.items():
                _measure(release, variables, ours[name])
        yield PARTS
        for name, found in ours.items():
            yield _part(name, found, ours[FAST], job)


def _prepared(release: Release) -> tuple[str, dict[str, Any]]:
    """Run each once, as the first builds from nothing; the run, and the bare Job's pod."""
    baselines.claim(release, "bare")
    first = release.prefect.completed(BUILD)["id"]
    bare = baselines.bare_template(release, "bare", first)
    baselines.run_job(release, bare)
    _stop_schedules(release)
    return first, bare


def _starts(release: Release, bare: dict[str, Any]) -> Iterator[str]:
    """Measure each once in each round."""
    ours = {name: _Seconds() for name in WHOLE}
    job, article, starts = _Seconds(), _Seconds(), []
    for _ in range(ROUNDS):
        _measure_job(release, bare, job)
        asked, run = time.time(), release.prefect.completed(baselines.DEPLOYMENT)
        article.by_hand.append(_at(run) - asked)
        for name, variables in WHOLE.items():
            run, due = _measure(release, variables, ours[name])
            if name == FAST:
                starts.append(_said(release, run, "Starting dbt build") - due)
    yield HEADER
    yield from _rows("", ours[FAST], job, article, (0.85, 1.2, 0.35, 0.35))
    yield from _rows(", fast start off", ours[OFF], job, article, ("", "", "", ""))
    yield f"\ndbt is started {spread(starts)} s after the scheduled time (to reach: 0 to 0.2)."


def _measure_job(release: Release, bare: dict[str, Any], job: _Seconds) -> None:
    job.by_schedule.append(_cron(release, bare))
    asked, pod = baselines.run_job(release, bare)
    ended = baselines.end_of(release, pod)
    job.by_hand.append(ended - asked)
    job.in_pod.append(ended - cluster.container_start(release, pod))


def _measure(release: Release, variables: dict[str, Any], ours: _Seconds) -> tuple[dict[str, Any], float]:
    """Run the build by hand and by schedule; the scheduled run, and its time."""
    asked, run = time.time(), release.prefect.completed(BUILD, **variables)
    [one] = release.pods_of(run["id"])
    ours.by_hand.append(_at(run) - asked)
    ours.in_pod.append(_at(run) - cluster.container_start(release, one["metadata"]["name"]))
    run, due = _scheduled(release, variables)
    ours.by_schedule.append(_at(run) - due)
    return run, due


def _rows(how: str, ours: _Seconds, job: _Seconds, article: _Seconds, goals: tuple[float | str, ...]) -> Iterator[str]:
    in_pod, by_hand, tutorial, scheduled = goals
    yield row(f"in the pod, from its start{how}: a bare Job", ours.in_pod, job.in_pod, in_pod)
    yield row(f"by hand, from the trigger{how}: a bare Job", ours.by_hand, job.by_hand, by_hand)
    what = f"by hand, from the trigger{how}: the usual flow, stock pool and worker"
    yield row(what, ours.by_hand, article.by_hand, tutorial)
    yield row(f"by schedule, from its time{how}: a CronJob", ours.by_schedule, job.by_schedule, scheduled)


def _part(name: str, found: _Seconds, whole: _Seconds, job: _Seconds) -> str:
    cells = (
        name,
        spread(found.in_pod),
        ratio(found.in_pod, job.in_pod),
        spread(found.by_schedule),
        ratio(found.by_schedule, job.by_schedule),
        ratio(found.in_pod, whole.in_pod),
        ratio(found.by_schedule, whole.by_schedule),
    )
    return "| " + " | ".join(cells) + " |"


def _scheduled(release: Release, variables: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """Run the build at a time that the worker knows early enough; the run, and that time."""
    due = float(math.ceil(time.time() + trace.AHEAD_SECONDS))
    run = trace.start(release, datetime.fromtimestamp(due, UTC), variables)
    found = release.prefect.ended(run)
    assert found["state"]["name"] == "Completed", found["state"]
    [pod] = release.pods_of(run)
    # Its end is not the next one's load.
    cluster.container_end(release, pod["metadata"]["name"])
    return found, due


def _cron(release: Release, bare: dict[str, Any]) -> float:
    """Have Kubernetes run the bare Job at the next full minute; seconds from then to its end."""
    baselines.start_cron(release, bare, "* * * * *")
    [pod, *_] = until(lambda: baselines.ended_pods(release, "cron"), 180, "the CronJob's run")
    ended = baselines.end_of(release, pod)
    release.kubectl("delete", "cronjob", "bare", "--cascade=foreground")
    return ended % 60


def _resources(release: Release, bare: dict[str, Any], first: str) -> Iterator[str]:
    """Peak memory as the kernel counts it for a pod, where it goes, and what the idle release takes."""
    peaks: dict[str, list[float]] = {FAST: [], OFF: [], "bare": []}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            run = release.prefect.completed(BUILD, command=f'sh -c "{command}; {PEAK}"')
            peaks[name].append(cluster.peak_memory(release, _pod_that_said(release, run["id"], "peak ")))
        peaks["bare"].append(cluster.peak_memory(release, baselines.run_job(release, bare)[1]))
    yield f"| peak memory of a flow run's pod, MiB | {spread(peaks[FAST])} | |"
    yield f"| the same, fast start off, MiB | {spread(peaks[OFF])} | |"
    yield f"| peak memory of the bare Job's, MiB | {spread(peaks['bare'])} | |"
    yield f"| a flow run's pod, ratio to the bare Job's | {ratio(peaks[FAST], peaks['bare'])} | 1.6 |"
    yield f"| the same, fast start off | {ratio(peaks[OFF], peaks['bare'])} | |"
    for interval in (1, 2, 10):
        cluster.set_query_interval(release, interval)
        for name, (cpu, held) in idle(release, "server", "worker").items():
            what = f"{name} without runs, where the worker asks every {interval} s"
            yield f"| {what} | {cpu:.1%} of a core, {held:.0f} MiB | |"
    yield f"\n{memory.HEADER}"
    yield from _processes(release, first)


def _processes(release: Release, first: str) -> Iterator[str]:
    """Where the memory goes in each pod, by what runs in it and prints that."""
    inside = "python -c \"import os; exec(os.environ['PROCESSES'])\" {}"
    variable = {"PROCESSES": memory.SOURCE}
    for name, command in COMMANDS.items():
        run = release.prefect.completed(BUILD, command=inside.format(command), env=variable)
        yield from memory.rows(name, release.kubectl("logs", _pod_that_said(release, run["id"], "memory {")))
    bare = baselines.bare_template(release, "bare", first, inside.format("dbt build"))
    bare["spec"]["containers"][0]["env"].append({"name": "PROCESSES", "value": memory.SOURCE})
    yield from memory.rows("bare Job", release.kubectl("logs", baselines.run_job(release, bare)[1]))


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


def _stop_schedules(release: Release) -> None:
    """Have no deployment run by its own schedule meanwhile."""
    for deployment in release.prefect.deployments().values():
        for schedule in deployment["schedules"]:
            path = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
            release.prefect.call("PATCH", path, active=False)


def _said(release: Release, run: dict[str, Any], text: str) -> float:
    logs = release.prefect.all("logs", logs={"flow_run_id": {"any_": [run["id"]]}})
    return min(trace.seconds(line["timestamp"]) for line in logs if line["message"].startswith(text))


def _pod_that_said(release: Release, run: str, text: str) -> str:
    """The run's pod, once a line of its log begins with that."""
    [pod] = release.pods_of(run)
    name = str(pod["metadata"]["name"])
    until(lambda: f"\n{text}" in release.kubectl("logs", name), 30, f"{text!r} in the log of {name}")
    return name


def row(name: str, ours: list[float], theirs: list[float], goal: float | str) -> str:
    """A line of the table that HEADER begins."""
    return f"| {name} | {spread(ours)} | {spread(theirs)} | {ratio(ours, theirs)} | {goal} |"


def _at(run: dict[str, Any]) -> float:
    return trace.seconds(run["state"]["timestamp"])
