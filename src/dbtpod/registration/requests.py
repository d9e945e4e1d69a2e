"""What deployments of `dbtpod.flows.run` ask for in prefect.yaml: by the rules of its form, as dbt commands."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import ValidationError

from dbtpod.registration import commands
from dbtpod.registration.commands import Command
from dbtpod.registration.entrypoints import ASKED, did_you_mean
from dbtpod.registration.yaml_file import Place, Problem
from dbtpod.request import RunRequest

_REQUEST = "request"


def read(deployments: Sequence[Any]) -> tuple[list[Command], list[Problem]]:
    """Read the requests of all deployments, each as the first of its commands, and find what is wrong with them."""
    found: list[Command] = []
    problems: list[Problem] = []
    for place, given in _given(deployments):
        try:
            asked = RunRequest.model_validate(given)
        except ValidationError as error:
            problems += _problems(error, place)
            continue
        if not asked.continue_from:
            # The others differ in their event times only.
            found.append(Command(place, tuple(asked.commands()[0]), _chosen(asked, place)))
    return found, problems


def _given(deployments: Sequence[Any]) -> Iterator[tuple[Place, Any]]:
    for index, entry in enumerate(deployments):
        if isinstance(entry, dict) and entry.get("entrypoint") == ASKED:
            for place, parameters in commands.parameters(entry, ("deployments", index)):
                given = _as_sent(parameters.get(_REQUEST))
                if _REQUEST in parameters and commands.FILLED_IN_LATER not in str(given):
                    yield (*place, _REQUEST), given


def _as_sent(given: Any) -> Any:
    """Return it as Prefect sends it, as JSON: a date of YAML's is a text."""
    if isinstance(given, dict):
        return {key: _as_sent(each) for key, each in given.items()}
    if isinstance(given, list):
        return [_as_sent(each) for each in given]
    return given.isoformat() if isinstance(given, date) else given


def _chosen(asked: RunRequest, at: Place) -> Mapping[str, Place] | None:
    """Return where each name stands; None where it chooses no part of the project."""
    if not asked.chooses:
        return None
    names = {"selector": [asked.selector], "select": asked.select, "exclude": asked.exclude}
    return {name: (*at, field, index) for field, each in names.items() for index, name in enumerate(each)}


def _problems(error: ValidationError, at: Place) -> Iterator[Problem]:
    for each in error.errors():
        place, text = (*at, *each["loc"]), each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            yield place, f"is an unknown field{did_you_mean(place[-1], RunRequest.model_fields)}"
        elif each["loc"] and not text.startswith("is "):
            yield place, f"is {each['input']!r}: {text}"
        elif each["loc"]:
            yield place, text
        else:
            yield from ((place, f"does not fit together: {line}") for line in text.splitlines())
