"""What the tests of faults share: a run caught in the middle, and what has to be true after whatever happened to it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from images import case
from kube import command
from release import BUILD, FAST_START, Release
from waiting import until

CONTENT = "select count(*), sum(net_amount), max(order_id) from fct_orders"
LOCK = """
import fcntl
with open("/data/writer.lock", "a") as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        print("free")
    except BlockingIOError:
        print("held")
"""
GATE = "import pathlib, sys; pathlib.Path('/data/gate').{}"
PUBLISHED_BY = """
import json, pathlib
for facts in sorted(pathlib.Path("/data/published").glob("0*/generation.json")):
    print(json.loads(facts.read_text())["run"])
"""
# Ends dbt, be it the executable or the process that had imported it before.
KILL_DBT = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    line = (process / "cmdline").read_bytes()
    if (b"/bin/dbt\\0" in line or b"/preload.py\\0" in line) and int(process.name) != os.getpid():
        os.kill(int(process.name), signal.SIGKILL)
        print(process.name)
"""
# Ends each process of a pod at once, as when its node dies: no process in it gets a signal.
VANISH = 'for p in /proc/[0-9]*; do grep -qsE "pod$0" $p/cgroup && kill -9 ${p#/proc/}; done; true'

Run = dict[str, Any]
Content = list[list[Any]]


@contextmanager
def in_the_middle(release: Release, what: str = "pauses") -> Iterator[str]:
    """A run in the middle of a model, where it stays until the gate is opened, or the block ends."""
    run = release.prefect.start(BUILD, **case(what))
    model = {"pauses": "START python table model main.pausing", "waits": "START sql table model main.waiting"}[what]
    try:
        release.prefect.logged(run, model, 90)
        yield run
    finally:
        open_gate(release)
        release.prefect.ended(run, 180)
        release.shell(GATE.format("unlink(missing_ok=True)"))


def open_gate(release: Release) -> None:
    release.shell(GATE.format("touch()"))


def kill_dbt(release: Release, run: str) -> list[str]:
    """Kill -9 dbt in the run's pod; the processes that were."""
    pod = release.pods_of(run)[-1]["metadata"]["name"]
    return release.shell(KILL_DBT, name=pod).split()


def vanish(release: Release, run: str) -> None:
    """End all processes of the run's pod from its node."""
    pod = release.pods_of(run)[-1]
    uid = pod["metadata"]["uid"].replace("-", "[-_]")
    command("docker", "exec", pod["spec"]["nodeName"], "sh", "-c", VANISH, uid)


def state(release: Release, run: str) -> str:
    return str(release.prefect.flow_run(run)["state"]["name"])


def is_settled(release: Release, content: Content, *, published: str = "", unpublished: str = "") -> None:
    """No run is Running, no pod of one and no lock is left, and readers have what they had before."""
    # With Prefect's own command a pod was still there a minute after its run, whose server had been full.
    seconds = 60 if FAST_START == "true" else 240
    until(lambda: not _busy_pods(release) and not _running(release), seconds, "the end of all runs and their pods")
    # A pod is gone from the API before the last of its processes is, and the lock is held until then.
    until(lambda: lock(release) == "free", 60, "the end of the writers' lock")
    assert release.rows(CONTENT) == content
    made_by = release.shell(PUBLISHED_BY).split()
    assert not published or published in made_by
    assert unpublished not in made_by


def goes_on_by_itself(release: Release, content: Content) -> None:
    """The next run completes, with nothing done by hand, and its build is like the last."""
    run = release.prefect.completed(BUILD)
    is_settled(release, content, published=run["id"])


def lock(release: Release) -> str:
    """The writers' lock: held or free."""
    return release.shell(LOCK).strip()


def _busy_pods(release: Release) -> list[str]:
    pods = release.cluster.objects("pods", release.namespace, "prefect.io/flow-run-id")
    return [pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] in ("Pending", "Running")]


def _running(release: Release) -> list[str]:
    running = {"state": {"type": {"any_": ["RUNNING", "CANCELLING"]}}}
    return [run["name"] for run in release.prefect.all("flow_runs", flow_runs=running)]


@contextmanager
def api_cut(release: Release) -> Iterator[None]:
    """No pod of a run reaches the server."""
    clients = "/spec/ingress/0/from/0/podSelector/matchExpressions/0/values"
    [policy] = [
        each
        for each in release.cluster.objects("networkpolicies", release.namespace)
        if each["metadata"]["name"] == "dbtpod-server"
    ]
    before = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    assert "flow-run" in before

    def admit(components: list[str]) -> None:
        change = json.dumps([{"op": "replace", "path": clients, "value": components}])
        release.kubectl("patch", "networkpolicy", "dbtpod-server", "--type=json", f"--patch={change}")

    admit([each for each in before if each != "flow-run"])
    try:
        yield
    finally:
        # In Helm's name: an upgrade refuses to change what another has changed.
        metadata = {key: policy["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
        restored = json.dumps({**policy, "metadata": metadata})
        in_its_name = ("--server-side", "--force-conflicts", "--field-manager=helm")
        release.kubectl("apply", *in_its_name, "--filename=-", stdin=restored)
