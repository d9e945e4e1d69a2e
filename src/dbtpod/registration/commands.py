"""The dbt commands that deployments of the ready flow name in prefect.yaml, and how they are written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbtpod.dbt import arguments
from dbtpod.errors import SettingsError
from dbtpod.registration.entrypoints import READY
from dbtpod.registration.yaml_file import Place, Problem

# What Prefect fills in when it deploys: not known before.
FILLED_IN_LATER = "{{ prefect."


@dataclass(frozen=True)
class Command:
    """A command, with its place in the file."""

    place: Place
    words: tuple[str, ...]
    # Of a request: the places of the names in it, which all have to be there; None where it has none.
    names: Mapping[str, Place] | None = None


def read(deployments: Sequence[Any]) -> tuple[list[Command], list[Problem]]:
    """Read the commands of all deployments, and find what is wrong with how they are written."""
    commands: list[Command] = []
    problems: list[Problem] = []
    for index, entry in enumerate(deployments):
        if isinstance(entry, dict) and entry.get("entrypoint") == READY:
            for place, given in parameters(entry, ("deployments", index)):
                problems += _retries_problems(given, place)
                if "commands" in given:
                    _read(given["commands"], (*place, "commands"), commands, problems)
    return commands, problems


def refused(commands: Sequence[Command], refusals: Mapping[tuple[str, ...], str]) -> Iterator[Problem]:
    """Yield the commands that dbt does not take, or that do nothing good in a run, each with the reason."""
    for command in commands:
        if reason := refusals.get(command.words) or out_of_place(command.words):
            yield command.place, f"is {shown(command.words)!r}: {reason}"


def out_of_place(words: Sequence[str]) -> str | None:
    """Say why a run is no place for a command that dbt takes; None for the usual ones."""
    places = arguments.parse(words).places
    return _OUT_OF_PLACE.get(" ".join(places[:2])) or _OUT_OF_PLACE.get(" ".join(places[:1]))


_OUT_OF_PLACE = {
    "clean": "it deletes what the image was built with; leave it out",
    "deps": "packages are installed when the image is built, by `dbtpod bake`; leave it out",
    "docs serve": "it never ends; write docs generate",
    "init": "it asks questions and makes a new project; leave it out",
    "retry": "a command is tried again by `retries`, and a run that lost its pod is resumed by itself; leave it out",
}


def shown(words: Sequence[str]) -> str:
    """Give a command as a person writes it here."""
    return arguments.text(words).removeprefix("dbt ")


def parameters(entry: Mapping[str, Any], at: Place) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Yield what the deployment is given, and what its schedules give instead."""
    schedules = entry.get("schedules")
    given = [(at, entry)]
    given += [((*at, "schedules", i), each) for i, each in enumerate(schedules if isinstance(schedules, list) else [])]
    for place, each in given:
        if isinstance(each, dict) and isinstance(found := each.get("parameters"), dict):
            yield (*place, "parameters"), found


def _retries_problems(parameters: Mapping[str, Any], at: Place) -> Iterator[Problem]:
    for name, kinds, wanted in (
        ("retries", int, "a whole number"),
        ("retry_delay_seconds", (int, float), "a number of seconds"),
    ):
        value = parameters.get(name, 0)
        if isinstance(value, str) and FILLED_IN_LATER in value:
            continue
        if not isinstance(value, kinds) or isinstance(value, bool) or value < 0:
            yield (*at, name), f"is {value!r}: it must be {wanted}, 0 or more"


def _read(given: Any, at: Place, commands: list[Command], problems: list[Problem]) -> None:
    if not isinstance(given, list) or not given:
        problems.append((at, f"is {given!r}: write a list of commands, such as [seed, build --select staging]"))
        return
    for index, each in enumerate(given):
        if FILLED_IN_LATER in str(each):
            continue
        found = _command(each)
        if isinstance(found, str):
            problems.append(((*at, index), found))
        else:
            commands.append(Command((*at, index), found))


def _command(given: Any) -> tuple[str, ...] | str:
    """Return its words, or what is wrong."""
    if not isinstance(given, str | list):
        return f"is {given!r}: a command is a text or a list of words; put it in quotes"
    if wrong := [word for word in given if not isinstance(word, str)]:
        return f"has the word {wrong[0]!r}, which is no text: put it in quotes"
    try:
        words = arguments.split(given)
    except SettingsError as error:
        return f"cannot be read: {error}"
    return tuple(words) or "is empty: write a dbt command, such as build"
