"""alerts.webhooks in the chart: the registration gets the names, and the addresses from their Secrets alone."""

import json
from typing import Any

import pytest

from rendered import digest_of, worker_container
from rendering import Manifest, Render, helm_template

pytestmark = pytest.mark.xdist_group("chart")

WEBHOOK = {
    "name": "data-team",
    "urlSecret": {"name": "webhooks", "key": "slack"},
    "format": "slack",
    "when": {"failed": True, "noSuccessHours": 26},
}
EGRESS = {"serverEgress": [{"ports": [{"protocol": "TCP", "port": 443}]}]}


def with_webhooks(*webhooks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"alerts": {"webhooks": list(webhooks)}, "networkPolicy": EGRESS, **more}


def register_pod(manifests: list[Manifest]) -> Manifest:
    [job] = [each for each in manifests if each["kind"] == "Job" and "-register-" in each["metadata"]["name"]]
    return dict(job["spec"]["template"])


def test_the_registration_reads_the_webhooks_from_a_file_and_their_addresses_beside_it(render: Render) -> None:
    manifests = render(with_webhooks(WEBHOOK))

    spec = register_pod(manifests)["spec"]
    [register] = spec["containers"]
    [volume] = [each for each in spec["volumes"] if each["name"] == "alerts"]
    assert json.loads(register_pod(manifests)["metadata"]["annotations"]["dbtpod/alerts"])["webhooks"] == [WEBHOOK]
    assert "--alerts=/etc/dbtpod-alerts/alerts.json" in register["args"]
    assert {each["name"]: each["mountPath"] for each in register["volumeMounts"]}["alerts"] == "/etc/dbtpod-alerts"
    file, address = volume["projected"]["sources"]
    reference = {"fieldPath": "metadata.annotations['dbtpod/alerts']"}
    assert file == {"downwardAPI": {"items": [{"path": "alerts.json", "fieldRef": reference}]}}
    # Optional: a Secret that is missing is the registration's error, with its name, and not a pod that waits.
    items = [{"key": "slack", "path": "urls/data-team"}]
    assert address == {"secret": {"name": "webhooks", "optional": True, "items": items}}


def test_other_webhooks_are_another_registration(render: Render) -> None:
    digests = {
        digest_of(worker_container(render, values, "watchdog"))
        for values in (with_webhooks(), with_webhooks(WEBHOOK), with_webhooks({**WEBHOOK, "format": "teams"}))
    }

    assert len(digests) == 3


def test_the_server_may_reach_what_is_allowed_and_nothing_by_default(render: Render) -> None:
    def egress(values: dict[str, Any]) -> list[Any]:
        [policy] = [
            each for each in render(values, kind="NetworkPolicy") if each["metadata"]["name"] == "dbtpod-server"
        ]
        return list(policy["spec"].get("egress", []))

    assert egress({}) == []
    assert egress(with_webhooks(WEBHOOK)) == EGRESS["serverEgress"]


def test_an_alert_that_no_network_policy_lets_out_is_refused() -> None:
    done = helm_template({"alerts": {"webhooks": [WEBHOOK]}})

    assert done.returncode != 0
    assert "the server may reach no webhook: set networkPolicy.serverEgress" in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "https://hooks.slack.com/services/T0"}, "url"),
        ({"format": "email"}, "/alerts/webhooks/0/format"),
        ({"when": {}}, "/alerts/webhooks/0/when"),
        ({"when": {"faild": True}}, "faild"),
        ({"when": {"noSuccessHours": "26h"}}, "/when/noSuccessHours"),
        ({"name": "Data Team"}, "/alerts/webhooks/0/name"),
        ({"urlSecret": {"name": "webhooks"}}, "key"),
    ],
)
def test_a_wrong_webhook_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    done = helm_template(with_webhooks({**WEBHOOK, **change}))

    assert done.returncode != 0
    assert said in done.stderr


def test_two_webhooks_of_one_name_are_refused() -> None:
    assert 'alerts.webhooks has "data-team" twice' in helm_template(with_webhooks(WEBHOOK, WEBHOOK)).stderr


def test_the_servers_log_hides_addresses(render: Render) -> None:
    [server] = render(kind="Deployment", component="server")
    [container] = server["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each.get("value") for each in container["env"]}

    assert given["PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS"] == "dbtpod.server_log.Handler"
