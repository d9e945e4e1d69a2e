"""Alerts that a registration makes: sent by a real Prefect server to a real HTTP receiver."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_UI_URL, temporary_settings

from alerting import ERROR, begin, end, failure, set_state, webhook, write_alerts
from dbtpod.registration import alert_triggers, alerts
from dbtpod.ui import stale
from prefect_server import Server, running
from receiving import Receiver, receiving
from registering import PASSWORD, ask, connected, create, deployments, run

# In hours and minutes, the shortest absence that Prefect knows.
TEN_SECONDS = {"noSuccessHours": 10 / 3600, "lateMinutes": 10 / 60}
OWNERS = {"model.shop.fct_orders": "Finance, finance@shop.example"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Server]:
    """A server that logs as the chart's does, and reaches other hosts by a proxy."""
    settings = {
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
        "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "dbtpod.server_log.Handler",
        "HTTP_PROXY": receiver.url(""),
        "NO_PROXY": "127.0.0.1,localhost",
    }
    with running(tmp_path_factory.mktemp("alerting"), **settings) as server:
        yield server


@pytest.fixture(scope="module")
def registered(alerting: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with connected(alerting.url):
        assert run(create(tmp_path_factory.mktemp("shop"))) == 0
        yield


@pytest.fixture
def shop(registered: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where webhooks are written; the server has none afterwards."""
    monkeypatch.setattr(alert_triggers, "CRASHED_SECONDS", 10)
    with temporary_settings({PREFECT_UI_URL: "https://prefect.shop.example"}):
        yield tmp_path
        register(tmp_path)


def register(folder: Path, *webhooks: dict[str, Any], docs: str = "") -> None:
    wanted = alerts.read(write_alerts(folder, *webhooks, docs=docs))
    found = {item.name: item for item in deployments().values()}
    ask(lambda client: alerts.ensure(client, "shop", wanted, found))


def test_a_failed_run_is_told_with_its_nodes_owner_first_error_and_links(shop: Path, receiver: Receiver) -> None:
    hooks = [webhook(form, receiver.url(f"/all-{form}"), form, failed=True) for form in ("slack", "teams", "json")]
    register(shop, *hooks, docs="https://docs.shop.example/")

    failed = end("shop-daily", "FAILED", "Failed", failure(OWNERS))

    page = f"https://prefect.shop.example/runs/flow-run/{failed.id}"
    docs = "https://docs.shop.example/#!/model/model.shop.fct_orders"
    said = receiver.first("/all-json")
    assert said["event"] == "failed"
    assert said["deployment"] == "shop-build/shop-daily"
    assert said["title"] == "shop-build/shop-daily failed"
    assert said["nodes"] == [
        {"node": "model.shop.fct_orders", "owner": OWNERS["model.shop.fct_orders"], "error": ERROR},
        {"node": "test.shop.not_null.ab12", "owner": "", "error": "Got 3 results"},
    ]
    assert said["error"] == ERROR
    assert said["owners"] == ["Finance, finance@shop.example"]
    assert (said["page"], said["docs"], said["run"]) == (page, docs, {"id": str(failed.id), "name": failed.name})
    assert said["message"].startswith("DbtFailed: dbt build --select stg_orders+ failed with exit code 1")

    text = receiver.first("/all-slack")["text"]
    assert text.startswith("*shop-build/shop-daily failed*\n```DbtFailed: dbt build")
    # Slack's signs, and nothing that ends the block of text.
    assert "column \"größe\" {{ not }} in {% raw %} 'fct' '''&lt;b&gt;&amp;" in text
    assert text.count("```") == 2
    assert "\nOwner: Finance, finance@shop.example\n" in text
    assert text.endswith(f"<{page}|Run page> · <{docs}|Docs>")

    [attachment] = receiver.first("/all-teams")["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    lines = [inline["text"] for block in attachment["content"]["body"] for inline in block["inlines"]]
    assert lines[0] == "shop-build/shop-daily failed"
    assert f"  model.shop.fct_orders (owner: Finance, finance@shop.example): {ERROR}" in lines
    assert [action["url"] for action in attachment["content"]["actions"]] == [page, docs]


def test_a_run_that_took_too_long_is_told_as_failed(shop: Path, receiver: Receiver) -> None:
    register(shop, webhook("team", receiver.url("/timed-out"), failed=True))

    end("shop-daily", "FAILED", "TimedOut", "longer than its deadline")

    said = receiver.first("/timed-out")
    assert (said["title"], said["error"]) == ("shop-build/shop-daily timed out", "longer than its deadline")
    assert (said["nodes"], said["owners"]) == ([], [])


def test_a_crash_is_told_once_with_its_last_reason_and_not_where_the_run_goes_on(
    shop: Path, receiver: Receiver
) -> None:
    register(shop, webhook("team", receiver.url("/crashed"), crashed=True))
    again = end("shop-hourly", "CRASHED", "Crashed", "Failed to submit flow run")
    set_state(again, "SCHEDULED", "AwaitingRetry", "Put back into the queue")

    crashed = end("shop-daily", "CRASHED", "Crashed", "No active or succeeded pods found for any job")
    set_state(crashed, "CRASHED", "Crashed", "The pod needed more memory than its limit (OOMKilled).")

    said = receiver.first("/crashed")
    assert said["message"] == said["error"] == "The pod needed more memory than its limit (OOMKilled)."
    assert said["run"]["id"] == str(crashed.id)
    # What came later was sent later: by then the other would have been there.
    later = end("shop-hourly", "CRASHED", "Crashed", "Evicted")
    ids = [str(crashed.id), str(later.id)]
    receiver.until("/crashed", 2)
    assert [each["run"]["id"] for each in receiver.at("/crashed")] == ids


@pytest.mark.soak
def test_a_run_that_is_still_late_after_that_time_is_told_and_not_one_that_started(
    shop: Path, receiver: Receiver
) -> None:
    register(shop, webhook("team", receiver.url("/late"), lateMinutes=TEN_SECONDS["lateMinutes"]))
    started = end("shop-hourly", "SCHEDULED", "Late")
    set_state(started, "RUNNING", "Running")

    late = end("shop-daily", "SCHEDULED", "Late")

    said = receiver.first("/late")
    assert said["run"]["id"] == str(late.id)
    assert said["title"].startswith("shop-build/shop-daily is late: it was due at 20")
    set_state(late, "COMPLETED", "Completed")


@pytest.mark.soak
def test_no_success_in_that_time_is_told_of_each_schedule_that_has_none(shop: Path, receiver: Receiver) -> None:
    hours = TEN_SECONDS["noSuccessHours"]
    register(shop, webhook("team", receiver.url("/none"), deployments=["shop-daily"], noSuccessHours=hours))

    first = receiver.first("/none")
    assert first["title"].startswith("shop-build/shop-daily has not succeeded for")
    assert first["message"].startswith("It is registered since 20")
    assert "/deployments/deployment/" in first["page"] and first["run"] is None

    succeeded = end("shop-daily", "COMPLETED", "Completed")
    end("shop-hourly", "COMPLETED", "Completed")
    receiver.until("/none", 2)
    second = receiver.at("/none")[1]
    assert second["message"].startswith("Its last success was at 20")
    assert second["run"]["id"] == str(succeeded.id)


def test_stale_sources_are_told_also_where_the_run_completes(shop: Path, receiver: Receiver) -> None:
    register(shop, webhook("team", receiver.url("/stale"), freshness=True))
    checked = begin("shop-hourly")
    message = "1 source is stale:\n  source.shop.raw.orders (owner: Sales): is 3 d old, warn after 1 d"

    event = stale.event(checked, message)
    ask(lambda client: client.request("POST", "/events", json=[event]))  # type: ignore

    said = receiver.first("/stale")
    assert said["title"] == "shop-smoke/shop-hourly found stale sources"
    [node] = said["nodes"]
    assert node == {"node": "source.shop.raw.orders", "owner": "Sales", "error": "is 3 d old, warn after 1 d"}


def test_the_first_success_after_a_failure_is_told_for_that_deployment_alone(shop: Path, receiver: Receiver) -> None:
    register(shop, webhook("team", receiver.url("/well"), recovered=True, failed=True))
    end("shop-daily", "FAILED", "Failed", failure())
    end("shop-daily", "FAILED", "Failed", failure())
    receiver.until("/well", 2)

    end("shop-hourly", "COMPLETED", "Completed")
    well = end("shop-daily", "COMPLETED", "Completed", "12 nodes: 12 success")
    receiver.until("/well", 3)
    end("shop-daily", "COMPLETED", "Completed", "12 nodes: 12 success")
    end("shop-hourly", "FAILED", "Failed", failure())
    receiver.until("/well", 4)

    told = [(each["event"], each["deployment"]) for each in receiver.at("/well")]
    assert told == [
        ("failed", "shop-build/shop-daily"),
        ("failed", "shop-build/shop-daily"),
        ("recovered", "shop-build/shop-daily"),
        ("failed", "shop-smoke/shop-hourly"),
    ]
    assert receiver.at("/well")[2]["run"]["id"] == str(well.id)


def test_only_the_chosen_deployments_are_told_of(shop: Path, receiver: Receiver) -> None:
    register(shop, webhook("team", receiver.url("/chosen"), deployments=["shop-hourly"], failed=True))

    end("shop-daily", "FAILED", "Failed", failure())
    end("shop-hourly", "FAILED", "Failed", failure())

    assert receiver.first("/chosen")["deployment"] == "shop-smoke/shop-hourly"
    assert len(receiver.at("/chosen")) == 1


def test_a_webhook_that_answers_with_an_error_holds_up_no_other_and_its_address_stays_secret(
    shop: Path, receiver: Receiver, alerting: Server
) -> None:
    receiver.answers["/services/T0/B0/s3cr3t"] = 500
    broken = webhook("broken", receiver.url("/services/T0/B0/s3cr3t"), "slack", failed=True)
    register(shop, broken, webhook("team", receiver.url("/beside"), failed=True))

    end("shop-daily", "FAILED", "Failed", failure())

    receiver.first("/beside")
    # Prefect tries it four times, and writes down each.
    receiver.until("/services/T0/B0/s3cr3t", 4)
    log = alerting.log_with(f"for url '{receiver.url('/')}…'", 4)
    assert "500 Internal Server Error" in log
    assert "s3cr3t" not in log


def test_an_alert_goes_through_the_servers_proxy(shop: Path, receiver: Receiver) -> None:
    register(shop, webhook("far", "http://hooks.shop.invalid/services/T1", failed=True))

    end("shop-daily", "FAILED", "Failed", failure())

    assert receiver.first("http://hooks.shop.invalid/services/T1")["deployment"] == "shop-build/shop-daily"
