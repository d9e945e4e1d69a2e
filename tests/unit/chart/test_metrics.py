"""What the chart makes for Prometheus and Grafana, and that it makes nothing of it by default."""

import json
import re
from typing import Any

import pytest

from rendering import CHART, ROOT, Manifest, Render, helm_template

pytestmark = pytest.mark.xdist_group("chart")

ALL: dict[str, Any] = {"metrics": {kind: {"enabled": True} for kind in ("serviceMonitor", "rules", "dashboard")}}


def rules_of(manifests: list[Manifest]) -> list[dict[str, Any]]:
    [found] = [each for each in manifests if each["kind"] == "PrometheusRule"]
    [group] = found["spec"]["groups"]
    return list(group["rules"])


def test_a_cluster_without_prometheus_gets_none_of_its_kinds(render: Render) -> None:
    assert {each["kind"] for each in render()} & {"ServiceMonitor", "PrometheusRule"} == set()


def test_prometheus_reads_the_watchdogs_port_also_where_the_worker_is_not_ready(render: Render) -> None:
    manifests = render(ALL)
    [service] = render(ALL, kind="Service", component="worker")
    [monitor] = [each for each in manifests if each["kind"] == "ServiceMonitor"]
    [policy] = [each for each in manifests if each["metadata"]["name"] == "dbtpod-metrics"]

    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["ports"] == [{"name": "metrics", "port": 8081, "targetPort": "watchdog"}]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert policy["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 8081}]


def test_each_rule_has_its_section_in_the_runbook(render: Render) -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)

    rules = rules_of(render(ALL | {"backup": {"enabled": True, "bucket": "backups"}}))

    assert [rule["alert"] for rule in rules] == sections
    assert [rule["annotations"]["runbook"] for rule in rules] == [
        f"docs/runbook.md#{section.lower()}" for section in sections
    ]


def test_a_rule_is_about_this_release_and_its_claims(render: Render) -> None:
    rules = {rule["alert"]: rule["expr"] for rule in rules_of(render(ALL))}

    assert rules["DbtpodNoSuccess"].endswith('{namespace="dbtpod",service="dbtpod-worker"}) > 93600')
    assert 'persistentvolumeclaim=~"dbtpod-warehouse|dbtpod-server"' in rules["DbtpodVolumeFilling"]


def test_the_dashboard_is_a_config_map_that_grafana_takes(render: Render) -> None:
    [found] = [each for each in render(ALL) if each["metadata"]["name"] == "dbtpod-dashboard"]

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["dbtpod.json"]) == json.loads((CHART / "files" / "dashboard.json").read_text())


def test_rules_without_the_metrics_that_they_ask_for_are_refused() -> None:
    done = helm_template({"metrics": {"rules": {"enabled": True}}})

    assert "metrics.rules or metrics.dashboard is enabled without metrics.serviceMonitor" in done.stderr
