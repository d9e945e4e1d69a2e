"""What deployments set in the pool's job template: variables that it has, with values of their kind."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dbtpod.registration import schema
from dbtpod.registration.entrypoints import did_you_mean
from dbtpod.registration.yaml_file import Problem


def problems(deployments: Sequence[Any], job_template: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the job variables that the template does not have, and those of another kind."""
    variables = job_template.get("variables", {})
    known = variables.get("properties", {})
    for index, entry in enumerate(deployments):
        pool = entry.get("work_pool") if isinstance(entry, dict) else None
        given = pool.get("job_variables") if isinstance(pool, dict) else None
        if not isinstance(given, dict):
            continue
        at = ("deployments", index, "work_pool", "job_variables")
        for name in sorted(set(given) - set(known), key=str):
            yield (*at, name), f"is not a variable of the work pool's job template{did_you_mean(name, known)}"
        # What has {{ is filled in by Prefect, and of a kind that is not known before.
        plain = {name: value for name, value in given.items() if "{{" not in str(value)}
        for place, text in schema.problems({**variables, "required": []}, plain):
            yield (*at, *place), text
