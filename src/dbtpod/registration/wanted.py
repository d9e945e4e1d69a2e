"""Each deployment as Prefect's own `deploy` command makes it of prefect.yaml, before anything is sent to the server.

The command itself opens two clients, asks git and writes several times for each deployment: half a second, also where
nothing changes. A test compares what it makes with what this makes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import chdir
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import VersionInfo
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from prefect.deployments.steps.core import run_steps
from prefect.events import DeploymentTriggerTypes
from prefect.exceptions import MissingFlowError, ScriptError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.templating import apply_values, resolve_block_document_references, resolve_variables
from pydantic import TypeAdapter, ValidationError

from dbtpod.errors import DeploymentsInvalid
from dbtpod.registration.deployments import PrefectFile
from dbtpod.registration.prefect_yaml import Deployment

# A changed builder must not find its deployments unchanged: count this up with each change of what is made here.
_MAKE = 1

_TRIGGER: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)
_Flows = Callable[[str], Flow[..., Any]]


@dataclass(frozen=True)
class Wanted:
    """One deployment as it is to be on the server."""

    entry: Deployment
    flow: str
    # What is sent, without the flow's id, the schedules, and whether it is paused.
    content: Mapping[str, Any]
    schedules: tuple[DeploymentScheduleCreate, ...]
    triggers: tuple[DeploymentTriggerTypes, ...]
    # Of all that the file and the flow say.
    digest: str

    @property
    def full_name(self) -> str:
        """Prefect's name for it, flow/deployment."""
        return f"{self.flow}/{self.entry.name}"


async def all_of(file: PrefectFile, client: PrefectClient) -> list[Wanted]:
    """Load the flows of the file, run its build and push steps, and return its deployments.

    Block documents and variables that the file names are read from the server; nothing is written to it.
    """
    flows = cache(_loaded)
    entries = zip(file.draft.deployments, file.deployments, strict=True)
    with chdir(file.path.absolute().parent):  # entrypoints and steps are relative to it
        return [await _wanted(given, entry, file.draft.content, flows, client) for given, entry in entries]


async def _wanted(
    given: Mapping[str, Any], entry: Deployment, of_all: Mapping[str, Any], flows: _Flows, client: PrefectClient
) -> Wanted:
    outputs: dict[str, Any] = {}
    for section in ("build", "push"):
        outputs |= await run_steps(_steps(given.get(section, of_all.get(section))) or [], outputs, _quiet)
    # As they are written: what they name is filled in where the flow runs.
    pull = of_all.get("pull") if given.get("pull") is None else given["pull"]
    rest = {key: value for key, value in given.items() if key not in ("build", "push", "pull", "triggers")}
    resolved = await resolve_variables(await resolve_block_document_references(rest, client=client), client=client)
    filled: dict[str, Any] = apply_values(resolved, outputs, warn_on_notset=True, skip_prefixes=["ctx."])
    flow = flows(entry.entrypoint)
    content = _content(filled, flow) | {"pull_steps": _pull_steps(pull, outputs)}
    triggers = [apply_values(each, outputs) | _parameters(each) for each in given.get("triggers") or []]
    asked = [_MAKE, flow.name, content, filled.get("schedules"), filled.get("paused"), triggers]
    return Wanted(
        entry,
        flow.name,
        content,
        tuple(map(_schedule, filled.get("schedules") or [])),
        tuple(_trigger(entry.name, number, each) for number, each in enumerate(triggers, start=1)),
        hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16],
    )


def _trigger(deployment: str, number: int, given: Mapping[str, Any]) -> DeploymentTriggerTypes:
    try:
        return _TRIGGER.validate_python({"name": f"{deployment}__automation_{number}", **given})
    except ValidationError as error:
        raise DeploymentsInvalid(
            f"Trigger {number} of deployment {deployment} is none that Prefect has: {error}"
        ) from error


def _loaded(entrypoint: str) -> Flow[..., Any]:
    try:
        return load_flow_from_entrypoint(entrypoint)
    except (MissingFlowError, ScriptError, ImportError) as error:
        raise DeploymentsInvalid(f"The flow {entrypoint} cannot be loaded: {error.__cause__ or error}.") from error


def _content(filled: Mapping[str, Any], flow: Flow[..., Any]) -> dict[str, Any]:
    pool = filled["work_pool"]
    limit = filled.get("concurrency_limit")
    options = limit if isinstance(limit, dict) else {}
    version = filled.get("version") or flow.version
    enforced = filled.get("enforce_parameter_schema")
    return {
        "name": filled["name"],
        "description": filled.get("description") or flow.description,
        "version": version,
        "version_info": VersionInfo(type="prefect:simple", version=version or "").model_dump(mode="json"),
        "tags": [str(each) for each in filled.get("tags") or []],
        "entrypoint": filled["entrypoint"],
        "path": None,
        "parameters": filled.get("parameters") or {},
        "parameter_openapi_schema": parameter_schema(flow).model_dump(exclude_unset=True),
        "enforce_parameter_schema": True if enforced is None else enforced,
        "concurrency_limit": options.get("limit", limit),
        "concurrency_options": {key: value for key, value in options.items() if key != "limit"} or None,
        "work_pool_name": pool["name"],
        "work_queue_name": pool["work_queue_name"],
        "job_variables": pool.get("job_variables") or {},
    }


def _pull_steps(given: Any, outputs: dict[str, Any]) -> Any:
    if given is None:  # the flow is where it is here, as in an image that registers itself
        return [{"prefect.deployments.steps.set_working_directory": {"directory": str(Path.cwd())}}]
    return apply_values(_steps(given), outputs, remove_notset=False)


def _schedule(given: Mapping[str, Any]) -> DeploymentScheduleCreate:
    common = {"timezone": given["timezone"]} if given.get("timezone") else {}
    when: CronSchedule | IntervalSchedule | RRuleSchedule
    if given.get("cron"):
        when = CronSchedule(cron=given["cron"], **common, **_given(given, "day_or"))
    elif rule := given.get("rrule"):
        written = json.loads(rule) if rule.lstrip().startswith("{") else {"rrule": rule}
        when = RRuleSchedule(**{**written, **common})
    else:
        interval = given["interval"]
        seconds = timedelta(seconds=interval) if isinstance(interval, int | float) else interval
        when = IntervalSchedule(interval=seconds, **common, **_given(given, "anchor_date"))
    return DeploymentScheduleCreate(
        schedule=when, slug=given["slug"], **_given(given, "active"), **_given(given, "parameters")
    )


def _given(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {} if mapping.get(key) is None else {key: mapping[key]}


def _parameters(trigger: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a trigger's parameters: they are filled in from its event."""
    return _given(trigger, "parameters")


def _steps(given: Any) -> list[Any] | None:
    """Return the steps as a list: one may be written without."""
    return [given] if isinstance(given, dict) else given


def _quiet(*_: object, **__: object) -> None:
    """Say nothing: an error of a step is raised."""
