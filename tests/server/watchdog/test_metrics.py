"""What Prometheus reads of a watchdog beside a real Prefect server; rules and dashboard ask for nothing else."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dbtpod.watchdog.health import Health
from dbtpod.watchdog.metrics import Metrics
from dbtpod.watchdog.successes import Successes
from prefect_server import free_port
from rendering import CHART, render_chart
from waiting import until
from watched import Pool

# The kubelet's, in every cluster: https://kubernetes.io/docs/reference/instrumentation/metrics/
KUBERNETES = {"kubelet_volume_stats_used_bytes", "kubelet_volume_stats_capacity_bytes"}
MONITORED = {"metrics": {kind: {"enabled": True} for kind in ("serviceMonitor", "rules", "dashboard")}}

Samples = dict[tuple[str, str], float]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def scrape(metrics: Metrics) -> Iterator[str]:
    """The address where the watchdog answers Prometheus."""
    port = free_port()
    Health().serve(port, metrics.text)
    return f"http://127.0.0.1:{port}/metrics"


def samples(address: str) -> Samples:
    """Each sample by the metric and its label's value."""
    text = httpx.get(address).raise_for_status().text
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def measure(metrics: Metrics, pool: Pool) -> None:
    """What a round does, with a server that answers."""
    metrics.runs(pool.server.live_runs())
    metrics.server(True, True)
    metrics.successes(Successes(pool.server).times() or {})


def schedule(pool: Pool, active: bool = True) -> None:
    daily = {"active": active, "schedule": {"cron": "0 6 * * *"}}
    # Again where SQLite is too busy on a loaded machine.
    until(lambda: pool.http.post(f"deployments/{pool.deployment}/schedules", json=[daily]).is_success)


def test_runs_waits_and_successes_are_those_of_the_server(pool: Pool, metrics: Metrics, scrape: str) -> None:
    schedule(pool)
    pool.missed(2)
    pool.by_hand("RUNNING")
    before = time.time()
    pool.by_hand("RUNNING", "COMPLETED")

    measure(metrics, pool)

    found = samples(scrape)
    assert found["dbtpod_flow_runs", "Running"] == 1
    assert found["dbtpod_flow_runs", "Scheduled"] + found["dbtpod_flow_runs", "Late"] == 2
    assert found["dbtpod_flow_runs", "Pending"] == 0
    # The older one was due two minutes ago.
    assert 115 <= found["dbtpod_queue_wait_seconds", "default"] < 300
    assert found["dbtpod_last_success_timestamp_seconds", f"shop/{pool.name}"] == pytest.approx(before, abs=60)
    assert (found["dbtpod_server_up", ""], found["dbtpod_registered", ""]) == (1, 1)


def test_a_deployment_without_a_success_counts_from_its_making_and_without_a_schedule_not(
    pool: Pool, metrics: Metrics, scrape: str
) -> None:
    measure(metrics, pool)
    assert not [name for name, _ in samples(scrape) if name.startswith("dbtpod_last_success")]

    schedule(pool)
    measure(metrics, pool)
    made = datetime.fromisoformat(pool.get(f"deployments/{pool.deployment}")["created"])
    assert samples(scrape)["dbtpod_last_success_timestamp_seconds", f"shop/{pool.name}"] == pytest.approx(
        made.astimezone(UTC).timestamp(), abs=1
    )


def test_a_success_between_two_looks_is_seen(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbtpod.watchdog.successes.EVERY_SECONDS", 0.0)
    schedule(pool)
    successes = Successes(pool.server)
    [before] = (successes.times() or {}).values()

    pool.by_hand("RUNNING", "COMPLETED")

    [after] = (successes.times() or {}).values()
    assert after > before


def test_rules_and_panels_ask_only_for_metrics_that_there_are(pool: Pool, metrics: Metrics, scrape: str) -> None:
    schedule(pool)
    pool.missed(1)
    measure(metrics, pool)
    exposed = {name for name, _ in samples(scrape)} | KUBERNETES

    manifests = render_chart(MONITORED)
    [rules] = [each for each in manifests if each["kind"] == "PrometheusRule"]
    expressions = [rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text())
    expressions += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]

    asked = {name for each in expressions for name in re.findall(r"([a-z_]+)\{", each)}
    assert len(expressions) >= 11
    assert asked == exposed - {name for name in exposed if name.endswith("_created")}
