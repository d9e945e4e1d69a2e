"""The alerts that the chart's `alerts.webhooks` asks for: an automation for each webhook and kind of event.

The address of a webhook is a secret. It goes from the mounted Secret into a block, which Prefect keeps encrypted; the
automation names the block. Prefect's server sends the alert itself, so that one about a worker that is gone arrives.
It is a notification block, because Prefect's webhook block knows no proxy and takes an error for an answer.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import Event, RelatedResource, Resource
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_UI_URL
from prefect.types import SecretDict

from dbtpod.errors import DeploymentsInvalid, SettingsError
from dbtpod.registration import alert_messages, alert_triggers, automations
from dbtpod.registration.entrypoints import did_you_mean

log = logging.getLogger("dbtpod.register")


@dataclass(frozen=True)
class Webhook:
    """One webhook as the values have it, with its address."""

    name: str
    url: str
    format: str
    when: Mapping[str, Any]
    # Empty: all.
    deployments: Sequence[str]


@dataclass(frozen=True)
class Alerts:
    """All webhooks of a release."""

    webhooks: Sequence[Webhook]
    docs_url: str


def read(path: Path) -> Alerts:
    """Read the chart's file, and the addresses beside it; SettingsError where a Secret has none."""
    given = json.loads(path.read_text(encoding="utf-8"))
    return Alerts([_webhook(each, path.parent) for each in given["webhooks"]], given.get("dbtDocsUrl", ""))


def _webhook(given: Mapping[str, Any], folder: Path) -> Webhook:
    secret, file = given["urlSecret"], folder / "urls" / given["name"]
    which = f"The webhook {given['name']!r} of alerts.webhooks has its address in the Secret {secret['name']!r}"
    if not file.exists():
        raise SettingsError(f"{which}, but that has no key {secret['key']!r} here, or is not there: create it.")
    url = file.read_text(encoding="utf-8").strip()
    if not re.match(r"https?://\S+$", url):
        raise SettingsError(
            f"{which}, under the key {secret['key']!r}, but what is there is no http:// or https:// URL."
        )
    return Webhook(given["name"], url, given["format"], given["when"], given.get("deployments") or [])


async def ensure(
    client: PrefectClient, pool: str, alerts: Alerts, deployments: Mapping[str, DeploymentResponse]
) -> None:
    """Make the server's alerts of this pool equal to these; those of people and of other pools stay as they are."""
    for webhook in alerts.webhooks:
        _check_deployments(webhook, deployments)
    pool_id = (await client.read_work_pool(pool)).id
    wanted: list[AutomationCore] = []
    for webhook in alerts.webhooks:
        block = await _ensure_block(client, pool, webhook)
        wanted += _automations(pool, pool_id, alerts, webhook, block, deployments)
    for automation in wanted:
        await automations.ensure(client, automation, "it sends nothing")
    names = {automation.name for automation in wanted}
    await automations.remove(client, lambda one: _is_ours(one, pool) and one.name not in names)
    await _remove_blocks(client, pool, alerts)
    if any(webhook.when.get("noSuccessHours") for webhook in alerts.webhooks):
        await _begin_to_watch(client, deployments)


def _check_deployments(webhook: Webhook, deployments: Mapping[str, DeploymentResponse]) -> None:
    known = {item.name for item in deployments.values()}
    if unknown := sorted(set(webhook.deployments) - known):
        raise DeploymentsInvalid(
            f"alerts.webhooks: {webhook.name!r} names the deployment {unknown[0]!r}, which is not in prefect.yaml"
            f"{did_you_mean(unknown[0], known)}"
        )


def _automations(
    pool: str,
    pool_id: UUID,
    alerts: Alerts,
    webhook: Webhook,
    block: UUID,
    deployments: Mapping[str, DeploymentResponse],
) -> Iterator[AutomationCore]:
    hours, names = webhook.when.get("noSuccessHours") or 0, webhook.deployments
    chosen = [item for item in deployments.values() if not names or item.name in names]
    for kind, trigger in alert_triggers.of(webhook.when, pool_id, chosen, bool(names)):
        body = alert_messages.template(webhook.format, kind, PREFECT_UI_URL.value() or "", alerts.docs_url, hours)
        yield AutomationCore(
            name=f"{_prefix(pool)}{webhook.name}: {kind}",
            description=_description(pool),
            trigger=trigger,
            actions=[SendNotification(block_document_id=block, subject=kind, body=body)],
        )


async def _ensure_block(client: PrefectClient, pool: str, webhook: Webhook) -> UUID:
    """Write the address into its block, and return the block's id."""
    block = CustomWebhookNotificationBlock(
        name=webhook.name,
        # The address is put in by Prefect, as is the text of the alert, which is JSON already.
        url="{{url}}",
        secrets=SecretDict({"url": webhook.url}),
        form_data="{{body}}",
        headers={"content-type": "application/json"},
        cookies=None,
    )
    try:
        return UUID(str(await block.asave(_block_name(pool, webhook.name), overwrite=True, client=client)))
    except PrefectHTTPStatusError as error:
        # Without its cause: that has the request's body, and so the address.
        status = error.response.status_code
        raise SettingsError(f"The server refuses to keep the webhook {webhook.name!r} ({status}).") from None


async def _remove_blocks(client: PrefectClient, pool: str, alerts: Alerts) -> None:
    slug = CustomWebhookNotificationBlock.get_block_type_slug()
    try:
        found = await client.read_block_documents_by_type(slug, include_secrets=False)
    except PrefectHTTPStatusError as error:
        # Prefect's server notes on its volume that it has written its types: after its database was lost it has none.
        if error.response.status_code != httpx.codes.NOT_FOUND:
            raise
        return
    kept = {_block_name(pool, webhook.name) for webhook in alerts.webhooks}
    for block in found:
        if str(block.name).startswith(_block_name(pool, "")) and block.name not in kept:
            await client.delete_block_document(block.id)
            log.info("webhook %s: removed", block.name)


async def _begin_to_watch(client: PrefectClient, deployments: Mapping[str, DeploymentResponse]) -> None:
    """Have each deployment's time begin, where it has not: Prefect counts from an event on."""
    events = [_watched(item) for item in deployments.values() if alert_triggers.is_scheduled(item)]
    if events:
        await client.request("POST", "/events", json=events)


def _watched(item: DeploymentResponse) -> dict[str, Any]:
    belongs_to = {"deployment": item.id, "flow": item.flow_id}
    made = Event(
        event=alert_triggers.WATCHED,
        resource=Resource({"prefect.resource.id": f"dbtpod.deployment.{item.id}"}),
        related=[
            RelatedResource({"prefect.resource.id": f"prefect.{kind}.{key}", "prefect.resource.role": kind})
            for kind, key in belongs_to.items()
        ],
    )
    return made.model_dump(mode="json")


def _prefix(pool: str) -> str:
    return f"{pool}: alert "


def _description(pool: str) -> str:
    return f"Made by dbtpod.register for the work pool {pool!r}, which writes it anew when it differs."


def _is_ours(automation: AutomationCore, pool: str) -> bool:
    return automation.name.startswith(_prefix(pool)) and automation.description == _description(pool)


def _block_name(pool: str, webhook: str) -> str:
    """Name a block, for which Prefect takes small letters, digits and hyphens alone."""
    plain = re.sub("[^a-z0-9]+", "-", pool.lower()).strip("-")
    # Two pools whose names differ in what is left out have different blocks.
    digest = "" if plain == pool else f"-{hashlib.sha256(pool.encode()).hexdigest()[:6]}"
    return f"{plain}{digest}-alert-{webhook}"
