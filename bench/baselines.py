"""What a run is compared with, in the same cluster and image: a bare Job and CronJob of dbt, and the usual flow."""

import json
import time
from copy import deepcopy
from typing import Any

from prefect_kubernetes import KubernetesWorker

from bench.cluster import ARTICLE_IMAGE
from release import Release

# The strongest that a plain Job can be: the baked parse state, no telemetry; the image has bytecode.
BARE = """
mkdir -p /data/work /tmp/target
export DUCKDB_PATH=/data/work/warehouse.duckdb DBT_PROJECT_DIR=/opt/dbtpod/dbt_project
export DBT_PROFILES_DIR=$DBT_PROJECT_DIR/.dbtpod/writer DBT_TARGET_PATH=/tmp/target DBT_LOG_PATH=/tmp/target
cp "$DBT_PROFILES_DIR/dev/partial_parse.msgpack" /tmp/target/
{dbt}
code=$?
echo "ended $(date +%s.%N)"
cat /sys/fs/cgroup/memory.peak /sys/fs/cgroup/memory/memory.max_usage_in_bytes 2>/dev/null | sed 's/^/peak /'
exit $code
"""
POOL = "article"
DEPLOYMENT = "article-build/article"


def claim(release: Release, name: str) -> None:
    """Make a volume of its own for a baseline: none waits for another's lock."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    apply(release, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec})


def bare_template(release: Release, claim_name: str, run: str, dbt: str = "dbt build") -> dict[str, Any]:
    """The pod of a flow run, but with that command of plain dbt in it, on that claim."""
    [job] = release.cluster.objects("jobs", release.namespace, f"prefect.io/flow-run-id={run}")
    spec = deepcopy(job["spec"]["template"]["spec"])
    [container] = spec["containers"]
    container.pop("args", None)
    container["command"] = ["sh", "-c", BARE.replace("{dbt}", dbt)]
    container["env"] = [each for each in container["env"] if not each["name"].startswith("PREFECT")]
    [volume] = [each for each in spec["volumes"] if each["name"] == "warehouse"]
    volume["persistentVolumeClaim"]["claimName"] = claim_name
    return {"metadata": {"labels": {"app": "bare"}}, "spec": spec}


def run_job(release: Release, template: dict[str, Any]) -> tuple[float, str]:
    """Run a bare Job to its end; when it was asked for, and its pod's name."""
    name = f"bare-{time.time_ns()}"
    spec = {"backoffLimit": 0, "template": template}
    asked = time.time()
    apply(release, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
    release.kubectl("wait", f"job/{name}", "--for=condition=complete", "--timeout=100s")
    [pod] = ended(release, f"job-name={name}")
    return asked, pod


def start_cron(release: Release, template: dict[str, Any], cron: str) -> None:
    """Have Kubernetes run bare Jobs by a schedule."""
    template = deepcopy(template)
    template["metadata"]["labels"] = {"app": "cron"}
    spec = {
        "schedule": cron,
        "concurrencyPolicy": "Forbid",
        "successfulJobsHistoryLimit": 20,
        "jobTemplate": {"metadata": {"labels": {"app": "cron"}}, "spec": {"backoffLimit": 0, "template": template}},
    }
    apply(release, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "bare"}, "spec": spec})


def ended_pods(release: Release, app: str) -> list[str]:
    """The pods of that kind that have ended, the oldest first."""
    return ended(release, f"app={app}")


def end_of(release: Release, pod: str) -> float:
    """When dbt ended in a bare pod; AssertionError where it did not build everything from its parse state."""
    log = release.kubectl("logs", pod)
    assert "ERROR=0 SKIP=0" in log, log
    assert "Unable to do partial parsing" not in log, log
    return float(log.rpartition("ended ")[2].split()[0])


def install_article(release: Release) -> None:
    """Give the usual flow a pool with Prefect's own template, and a worker with Prefect's own settings."""
    template = KubernetesWorker.get_default_base_job_template()
    defaults = {"image": ARTICLE_IMAGE, "namespace": release.namespace, "image_pull_policy": "IfNotPresent"}
    for name, value in defaults.items():
        template["variables"]["properties"][name]["default"] = value
    # What every baseline needs: a volume that stays, and the way to the server.
    manifest = template["job_configuration"]["job_manifest"]["spec"]["template"]
    manifest["metadata"] = {"labels": {"app": "article"}}
    manifest["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "article"}}]
    manifest["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    claim(release, "article")
    release.prefect.call("POST", "work_pools/", name=POOL, type="kubernetes", base_job_template=template)
    flow = release.prefect.call("POST", "flows/", name="article-build")["id"]
    release.prefect.call(
        "POST",
        "deployments/",
        name="article",
        flow_id=flow,
        work_pool_name=POOL,
        entrypoint="flows/article.py:build",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": "/opt/dbtpod"}}],
        # Its root may be written by root alone, so dbt writes elsewhere.
        job_variables={"env": {"DBT_TARGET_PATH": "/tmp/target", "DBT_LOG_PATH": "/tmp/target"}},  # noqa: S108
    )
    _start_worker(release)


def _start_worker(release: Release) -> None:
    [ours] = release.pods("worker")
    [worker] = [each for each in ours["spec"]["containers"] if each["name"] == "worker"]
    way = [each for each in worker["env"] if each["name"] in {"PREFECT_API_URL", "PREFECT_API_AUTH_STRING"}]
    observed = {"name": "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES", "value": release.namespace}
    container = {
        "name": "worker",
        "image": worker["image"],
        "command": ["prefect", "worker", "start", "--pool", POOL, "--type", "kubernetes"],
        "env": [*way, observed],
    }
    account = {"serviceAccountName": ours["spec"]["serviceAccountName"], "automountServiceAccountToken": True}
    spec = {**account, "containers": [container]}
    pod = {"metadata": {"labels": {"app": "article"}}, "spec": spec}
    labels = {"matchLabels": {"app": "article"}}
    apply(
        release,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "article-worker"},
            "spec": {"selector": labels, "template": pod},
        },
    )


def ended(release: Release, labels: str) -> list[str]:
    """The pods with these labels that have ended, the oldest first."""
    pods = release.cluster.objects("pods", release.namespace, labels)
    pods.sort(key=lambda each: each["metadata"]["creationTimestamp"])
    return [each["metadata"]["name"] for each in pods if each["status"]["phase"] in {"Succeeded", "Failed"}]


def apply(release: Release, manifest: dict[str, Any]) -> None:
    """Bring the object into the release's namespace."""
    release.kubectl("apply", "--filename", "-", stdin=json.dumps(manifest))
