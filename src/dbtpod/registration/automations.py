"""One automation on the server: created, made equal, or removed; what changed is logged."""

import logging
from collections.abc import Callable

from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import Automation, AutomationCore

log = logging.getLogger("dbtpod.register")

_PAGE = 200


async def ensure(client: PrefectClient, wanted: AutomationCore, when_off: str) -> None:
    """Create the automation or make it equal; one that was switched off in the Prefect UI stays off.

    `when_off` says what that means. PrefectHTTPStatusError where the server refuses it.
    """
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        await client.create_automation(wanted)
        log.info("automation %r: created", wanted.name)
        return
    existing, *copies = found
    for copy in copies:
        await client.delete_automation(copy.id)
    wanted = wanted.model_copy(update={"enabled": existing.enabled})
    if _comparable(existing) != _comparable(wanted):
        await client.update_automation(existing.id, wanted)
        log.info("automation %r: updated", wanted.name)
    if not existing.enabled:
        log.warning("automation %r is switched off in the Prefect UI: %s", wanted.name, when_off)


async def remove(client: PrefectClient, is_superfluous: Callable[[AutomationCore], bool]) -> None:
    """Remove the automations of which this is so."""
    found: list[Automation] = []
    while page := await _page(client, len(found)):
        found += page
    for automation in filter(is_superfluous, found):
        await client.delete_automation(automation.id)
        log.info("automation %r: removed", automation.name)


async def _page(client: PrefectClient, offset: int) -> list[Automation]:
    # The client's own read_automations gives the first page alone.
    body = {"sort": "NAME_ASC", "limit": _PAGE, "offset": offset}
    answer = await client.request("POST", "/automations/filter", json=body)
    return [Automation.model_validate(each) for each in answer.json()]


def _comparable(automation: AutomationCore) -> dict[str, object]:
    fields = {"description", "enabled", "trigger", "actions"}
    dumped = AutomationCore.model_validate(automation.model_dump()).model_dump(mode="python", include=fields)
    dumped["trigger"].pop("id", None)
    return dumped
