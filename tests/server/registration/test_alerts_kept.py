"""What a registration makes of alerts.webhooks on a server, what it removes, and what it leaves to others."""

from pathlib import Path
from uuid import uuid4

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient
from prefect.events.actions import DoNothing
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from alerting import automations, blocks, webhook, write_alerts
from prefect_server import running
from registering import PASSWORD, ask, connected, refused, run

ADDRESS = "https://hooks.shop.example/services/s3cr3t"
THEIRS = ("our own alert", "shop: alert of a person", "shop-2: alert team: failed")


def test_alerts_follow_their_values_and_those_of_others_stay(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(_make_theirs)
    both = [
        webhook("team", ADDRESS, "slack", failed=True, crashed=True, noSuccessHours=26),
        webhook("ops", ADDRESS, failed=True),
    ]
    file = write_alerts(project, *both)
    assert run(project, "--alerts", str(file)) == 0
    made = automations()
    ours = {"shop: alert team: failed", "shop: alert team: crashed", "shop: alert team: noSuccess"}
    assert {name for name in made if ": alert " in name} - set(THEIRS) == {*ours, "shop: alert ops: failed"}
    assert set(blocks()) == {"shop-alert-team", "shop-alert-ops", "shop-2-alert-team", "theirs"}

    # Again: nothing changes.
    capsys.readouterr()
    assert run(project, "--alerts", str(file)) == 0
    assert "automation" not in capsys.readouterr().out
    assert automations() == made

    # By hand, without the chart's file: they stay.
    assert run(project) == 0
    assert automations() == made

    write_alerts(project, webhook("team", ADDRESS, "slack", failed=True, noSuccessHours=12))
    assert run(project, "--alerts", str(file)) == 0
    said = capsys.readouterr().out
    assert "automation 'shop: alert team: noSuccess': updated" in said
    assert "automation 'shop: alert ops: failed': removed" in said
    assert {name for name in automations() if ": alert " in name} == ours - {"shop: alert team: crashed"} | set(
        THEIRS[1:]
    )
    assert set(THEIRS) <= set(automations())
    assert set(blocks()) == {"shop-alert-team", "shop-2-alert-team", "theirs"}


def test_an_alert_that_is_switched_off_in_the_ui_stays_off(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_alerts(project, webhook("team", ADDRESS, failed=True))
    assert run(project, "--alerts", str(file)) == 0
    key = automations()["shop: alert team: failed"]
    ask(lambda client: client.pause_automation(key))

    write_alerts(project, webhook("team", ADDRESS, "slack", failed=True))
    assert run(project, "--alerts", str(file)) == 0

    assert "'shop: alert team: failed' is switched off in the Prefect UI: it sends nothing" in capsys.readouterr().out
    found = ask(lambda client: client.read_automation(key))
    assert found and not found.enabled


def test_the_address_is_in_the_encrypted_block_alone_and_a_new_one_replaces_it(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_alerts(project, webhook("team", ADDRESS, failed=True))
    assert run(project, "--alerts", str(file)) == 0
    write_alerts(project, webhook("team", ADDRESS + "-2", failed=True))
    assert run(project, "--alerts", str(file)) == 0

    everything = ask(lambda client: client.request("POST", "/automations/filter", json={})).text
    said = "".join(capsys.readouterr())
    assert "s3cr3t" not in everything + str(blocks()) + said
    block = ask(lambda client: CustomWebhookNotificationBlock.aload("shop-alert-team", client=client))
    assert block.secrets.get_secret_value() == {"url": ADDRESS + "-2"}


def test_what_is_wrong_with_a_webhook_is_an_error_that_names_it(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project) == 0
    file = write_alerts(project, webhook("team", ADDRESS, deployments=["shop-dayly"], failed=True))
    message = refused(project, capsys, "--alerts", str(file))
    assert (
        "'team' names the deployment 'shop-dayly', which is not in prefect.yaml; did you mean 'shop-daily'?" in message
    )

    write_alerts(project, webhook("team", "hooks.shop.example/s3cr3t", failed=True))
    message = refused(project, capsys, "--alerts", str(file))
    assert "the Secret 'hooks', under the key 'url', but what is there is no http:// or https:// URL" in message
    assert "s3cr3t" not in message

    (project / "urls/team").unlink()
    message = refused(project, capsys, "--alerts", str(file))
    assert "The webhook 'team' of alerts.webhooks has its address in the Secret 'hooks', but that has no key" in message


def test_a_server_whose_database_was_lost_is_registered_at_without_alerts_and_with_them(
    tmp_path: Path, project: Path
) -> None:
    home = tmp_path / "server"
    home.mkdir()
    with running(home):
        pass
    for file in home.glob("prefect.db*"):
        file.unlink()
    (home / "prefect.db").touch()  # or the support module would put a copy of a new one there

    with running(home, PREFECT_SERVER_API_AUTH_STRING=PASSWORD) as server, connected(server.url):
        with pytest.raises(ObjectNotFound):
            ask(lambda client: client.read_block_type_by_slug("custom-webhook"))
        assert run(project, "--alerts", str(write_alerts(project))) == 0
        assert run(project, "--alerts", str(write_alerts(project, webhook("team", ADDRESS, failed=True)))) == 0
        assert set(blocks()) == {"shop-alert-team"}


async def _make_theirs(client: PrefectClient) -> None:
    """Automations of people and of another pool, and a block of each."""
    for name in THEIRS:
        trigger = EventTrigger(posture=Posture.Reactive, expect={f"never.{uuid4()}"}, threshold=1)
        await client.create_automation(AutomationCore(name=name, trigger=trigger, actions=[DoNothing()]))
    for name in ("theirs", "shop-2-alert-team"):
        block = CustomWebhookNotificationBlock(name=name, url="https://theirs.example", cookies=None)
        await block.asave(name, overwrite=True, client=client)
