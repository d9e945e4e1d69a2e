"""What is a mistake in prefect.yaml, and what to write instead; pure apart from reading the flows' files.

`prefect deploy` forgives what a person would not: it ignores unknown keys, deploys unset variables as empty text, and
fails at an `sla` after it has changed the deployment.
"""

import importlib
import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from pydantic import TypeAdapter, ValidationError

from dbtpod.registration import entrypoints
from dbtpod.registration.entrypoints import did_you_mean

# The queues of the work pool and how many of their runs may be in a pod at once. One writer: DuckDB has no second.
QUEUES: Mapping[str, int | None] = {"duckdb-writer": 1, "duckdb-reader": None}

# The keys that Prefect 3.8 reads, and their types. A test compares them with Prefect's own models.
_STEPS = (list, dict, type(None))
FILE_KEYS = {"name": str, "prefect-version": str, "build": _STEPS, "push": _STEPS, "pull": _STEPS, "deployments": list}
DEPLOYMENT_KEYS = {
    **dict.fromkeys(("name", "entrypoint", "flow_name", "description", "version", "version_type"), str),
    **dict.fromkeys(("parameters", "work_pool"), dict),
    **dict.fromkeys(("build", "push", "pull"), _STEPS),
    **dict.fromkeys(("paused", "enforce_parameter_schema"), bool),
    "tags": list,
    "schedules": list,
    "triggers": list,
    "concurrency_limit": (int, dict),
}
WORK_POOL_KEYS = {"name": str, "work_queue_name": str, "job_variables": dict}
CONCURRENCY_KEYS = {"limit": int, "collision_strategy": str, "grace_period_seconds": int}
SCHEDULE_KEYS = {
    **dict.fromkeys(("cron", "rrule", "timezone", "slug", "replaces", "anchor_date"), str),
    **dict.fromkeys(("active", "day_or"), bool),
    "interval": (int, float, str),
    "parameters": dict,
}
# Keys that Prefect knows and we refuse, with the reason.
REFUSED_KEYS = {
    "schedule": "write a list under `schedules`",
    "sla": "only Prefect Cloud has it, and elsewhere the deployment fails half done: remove it",
}

Place = tuple[str | int, ...]  # ("deployments", 0, "work_pool", "name")
Problem = tuple[Place, str]


def check(content: dict[str, Any], folder: Path, pool: str) -> Iterator[Problem]:
    """Every mistake in the content of a prefect.yaml in `folder`, with its place; variables are filled in already."""
    # `definitions` holds YAML anchors, by the convention of Prefect's documentation.
    yield from _check_keys(content, {**FILE_KEYS, "definitions": object}, ())
    yield from _check_steps(content, ())
    names = Counter(entry.get("name") for entry in content["deployments"] if isinstance(entry, dict))
    for index, entry in enumerate(content["deployments"]):
        at: Place = ("deployments", index)
        if not isinstance(entry, dict):
            yield at, f"is {entry!r}: a deployment is a mapping with name, entrypoint, work_pool"
            continue
        if entry.get("name") and names[entry["name"]] > 1:
            yield (*at, "name"), f"is {entry['name']!r}, which another deployment has too: give each its own"
        yield from _check_deployment(entry, folder, pool, at)


def _check_deployment(entry: dict[str, Any], folder: Path, pool: str, at: Place) -> Iterator[Problem]:
    yield from _check_keys(entry, DEPLOYMENT_KEYS, at)
    if not entry.get("name"):
        yield at, "has no name: Prefect would skip it"
    yield from _check_steps(entry, at)
    yield from _check_entrypoint(entry, folder, at)
    yield from _check_work_pool(work_pool(entry), pool, (*at, "work_pool"))
    if isinstance(limit := entry.get("concurrency_limit"), dict):
        yield from _check_keys(limit, CONCURRENCY_KEYS, (*at, "concurrency_limit"))
    schedules = entry.get("schedules")
    if isinstance(schedules, list):
        slugs = Counter(item.get("slug") for item in schedules if isinstance(item, dict))
        for index, item in enumerate(schedules):
            yield from _check_schedule(item, slugs, (*at, "schedules", index))


def _check_keys(mapping: dict[str, Any], keys: Mapping[str, Any], at: Place) -> Iterator[Problem]:
    for key, value in mapping.items():
        if key in REFUSED_KEYS and keys is DEPLOYMENT_KEYS:
            yield (*at, key), f"is not for prefect.yaml here: {REFUSED_KEYS[key]}"
        elif key not in keys:
            yield (*at, key), f"is an unknown key, which Prefect would ignore{did_you_mean(key, keys)}"
        elif not isinstance(value, keys[key]):
            types = keys[key] if isinstance(keys[key], tuple) else (keys[key],)
            wanted = " or ".join(_TYPE_NAMES.get(kind, kind.__name__) for kind in types)
            yield (*at, key), f"is {value!r}: it must be {wanted}"


def _check_steps(mapping: dict[str, Any], at: Place) -> Iterator[Problem]:
    for section in ("build", "push", "pull"):
        steps = mapping.get(section)
        for index, step in enumerate([steps] if isinstance(steps, dict) else steps if isinstance(steps, list) else []):
            place = (*at, section, index)
            if isinstance(step, dict):
                for name, inputs in step.items():
                    yield from _check_step(str(name), inputs or {}, (*place, name))
            else:
                yield place, f"is {step!r}: a step is a mapping of its function to its inputs"


def _check_step(name: str, inputs: dict[str, Any], at: Place) -> Iterator[Problem]:
    module, _, function = name.rpartition(".")
    try:
        known = vars(importlib.import_module(module))
    except (ImportError, ValueError):
        yield at, f"is no step here: {module or name!r} is not installed"
        return
    if function not in known:
        yield at, f"is no such step in {module}{did_you_mean(function, known)}"
        return
    parameters = {*inspect.signature(known[function]).parameters, "id", "requires"}
    for key in set(inputs) - parameters:
        yield (*at, key), f"is not an input of this step{did_you_mean(key, parameters)}"


_TYPE_NAMES = {str: "text", dict: "a mapping", list: "a list", bool: "true or false", int: "a whole number"}


def _check_entrypoint(entry: dict[str, Any], folder: Path, at: Place) -> Iterator[Problem]:
    entrypoint = entry.get("entrypoint")
    if not isinstance(entrypoint, str) or not entrypoint:
        yield at, "has no entrypoint: name its flow as flows/flows.py:function"
        return
    flow = entrypoints.find(entrypoint, folder)
    if isinstance(flow, str):
        yield (*at, "entrypoint"), f"is {entrypoint!r}: {flow}"
    elif flow.parameters is not None:
        for name in entry.get("parameters") or {}:
            if name not in flow.parameters:
                near = did_you_mean(name, flow.parameters)
                yield (*at, "parameters", name), f"is not a parameter of {entrypoint}{near}"


def _check_work_pool(work_pool: dict[str, Any], pool: str, at: Place) -> Iterator[Problem]:
    yield from _check_keys(work_pool, WORK_POOL_KEYS, at)
    if (name := work_pool.get("name")) != pool:
        yield (*at, "name"), f"is {name!r}, but the work pool that is registered is {pool!r}: write that"
    queue = work_pool.get("work_queue_name")
    if queue not in QUEUES:
        near = did_you_mean(queue, QUEUES)
        yield (*at, "work_queue_name"), f"is {queue!r}: no worker polls it; write {' or '.join(QUEUES)}{near}"


_KINDS: dict[str, TypeAdapter[Any]] = {
    "cron": TypeAdapter(CronSchedule),
    "interval": TypeAdapter(IntervalSchedule),
    "rrule": TypeAdapter(RRuleSchedule),
}


def _check_schedule(item: Any, slugs: Counter[Any], at: Place) -> Iterator[Problem]:
    if not isinstance(item, dict):
        yield at, f"is {item!r}: a schedule is a mapping with slug, cron, timezone"
        return
    yield from _check_keys(item, SCHEDULE_KEYS, at)
    slug = item.get("slug")
    if not slug:
        yield at, "has no slug: give it a name of its own, or Prefect cannot update it later"
    elif slugs[slug] > 1:
        yield (*at, "slug"), f"is {slug!r}, which another schedule of this deployment has too"
    kinds = [kind for kind in _KINDS if item.get(kind) is not None]
    if len(kinds) != 1:
        yield at, f"has {' and '.join(kinds) or 'no time'}: it must have one of cron, interval, rrule"
        return
    try:
        _KINDS[kinds[0]].validate_python({key: item[key] for key in (kinds[0], "timezone") if key in item})
    except ValidationError as exc:
        error = exc.errors()[0]
        # IntervalSchedule checks the timezone as a whole, so without a place.
        wrong = "timezone" if "timezone" in item and error["loc"] in ((), ("timezone",)) else kinds[0]
        reason = error["msg"].removeprefix("Value error, ")
        near = did_you_mean(item[wrong], available_timezones()) if wrong == "timezone" else ""
        yield (*at, wrong), f"is {item[wrong]!r}: {reason}{near}"


def work_pool(entry: dict[str, Any]) -> dict[str, Any]:
    """The deployment's work pool as written, empty where there is none."""
    value = entry.get("work_pool")
    return value if isinstance(value, dict) else {}
