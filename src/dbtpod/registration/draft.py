"""A prefect.yaml as it is written: its lines, its variables filled in, its commands; read without Prefect."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbtpod.registration import commands, requests, yaml_file
from dbtpod.registration.commands import Command
from dbtpod.registration.yaml_file import Diagnostic, Place, Problem, YamlFile

# Filled in later than at deployment: steps in the pod, triggers from their event.
_TEMPLATED_LATER = ("build", "push", "pull", "triggers")
_VARIABLE = re.compile(r"{{\s*\$(\w+)\s*}}")


@dataclass(frozen=True)
class Draft:
    """A file that is YAML and has deployments."""

    file: YamlFile
    # With the variables filled in.
    content: dict[str, Any]
    commands: tuple[Command, ...]
    problems: tuple[Problem, ...]
    # Where a variable is not set: what else is wrong with that value is not an error of its writer.
    unset: frozenset[Place]

    @property
    def deployments(self) -> list[Any]:
        """The entries, which may be anything."""
        return list(self.content["deployments"])

    def subject(self, place: Place) -> str:
        """Say which value it is, as `deployment 'daily': schedules[0].cron`."""
        if len(place) < 2 or place[0] != "deployments":
            return ".".join(map(str, place))
        entry = self.deployments[int(place[1])]
        name = entry.get("name") if isinstance(entry, dict) else None
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place[2:]).removeprefix(".")
        return f"deployment {name or place[1]!r}: {key}".rstrip()

    def diagnostics(self, problems: Iterable[Problem]) -> list[Diagnostic]:
        """Give the problems with their lines, in the order of the file."""
        found = [Diagnostic(self.file.line(place), f"{self.subject(place)} {text}".strip()) for place, text in problems]
        return sorted(found, key=lambda found: (found.line, found.text))


def read(path: Path, environment: Mapping[str, str]) -> Draft | Diagnostic:
    """Read the file, or say why it cannot be used at all."""
    file = yaml_file.read(path)
    if isinstance(file, Diagnostic):
        return file
    content = file.content
    if not isinstance(content, dict) or not isinstance(content.get("deployments"), list):
        return Diagnostic(1, "has no list of `deployments`: see Prefect's documentation of prefect.yaml")
    unset: list[Problem] = []
    entries = _substitute(content["deployments"], environment, ("deployments",), unset)
    places = frozenset(place for place, _ in unset)
    read = [commands.read(entries), requests.read(entries)]
    known = tuple(command for found, _ in read for command in found if command.place not in places)
    wrong = (problem for _, problems in read for problem in problems if problem[0] not in places)
    problems = (*file.repeated, *unset, *wrong)
    return Draft(file, {**content, "deployments": entries}, known, problems, places)


def _substitute(value: Any, environment: Mapping[str, str], at: Place, problems: list[Problem]) -> Any:
    if isinstance(value, dict):
        return {
            key: part if key in _TEMPLATED_LATER else _substitute(part, environment, (*at, key), problems)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_substitute(part, environment, (*at, index), problems) for index, part in enumerate(value)]
    if not isinstance(value, str):
        return value
    unset = [name for name in _VARIABLE.findall(value) if not environment.get(name)]
    problems += [(at, f"is {value!r}: the variable {name} is not set; export it or write the value") for name in unset]
    return _VARIABLE.sub(lambda found: environment.get(found[1], ""), value)
