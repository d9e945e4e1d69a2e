"""prefect.yaml, read and checked before anything is changed on a server; pure apart from reading files."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dbtpod import settings
from dbtpod.errors import DeploymentsInvalid
from dbtpod.registration.entrypoints import did_you_mean
from dbtpod.registration.mapping import Around, Place, Problem
from dbtpod.registration.prefect_yaml import Deployment, parse


@dataclass(frozen=True)
class PrefectFile:
    """A prefect.yaml without errors."""

    path: Path
    pool: str
    deployments: tuple[Deployment, ...]


def read(path: Path, pool: str | None = None, environment: Mapping[str, str] | None = None) -> PrefectFile:
    """Read and check prefect.yaml; DeploymentsInvalid lists every error with its line, its value and the fix.

    `pool` is the work pool that all deployments must name; without it, the one that the first names.
    """
    given = settings.environment() if environment is None else environment
    content, lines = _parse(path)
    problems: list[Problem] = []
    content["deployments"] = _substitute(content.get("deployments") or [], given, ("deployments",), problems)
    pool = pool or _first_pool(content["deployments"])
    found = parse(content, Around(path.parent.absolute(), pool))
    if isinstance(found, list):
        unset = {place for place, _ in problems}
        problems += [(place, text) for place, text in found if place not in unset]
    if problems or isinstance(found, list):
        raise DeploymentsInvalid(_message(path, content, lines, problems))
    return PrefectFile(path, pool, found)


def _first_pool(entries: list[Any]) -> str:
    pools = (entry.get("work_pool") for entry in entries if isinstance(entry, dict))
    names = (pool.get("name") for pool in pools if isinstance(pool, dict))
    return next((str(name) for name in names if name), "dbtpod")


def check_job_variables(file: PrefectFile, job_template: Mapping[str, Any]) -> None:
    """DeploymentsInvalid where a deployment sets a job variable that the pool's job template does not have."""
    known = job_template.get("variables", {}).get("properties", {})
    problems = [
        f"deployment {deployment.name!r}: job_variables.{name} is not a variable of the work pool's job template"
        f"{did_you_mean(name, known)}"
        for deployment in file.deployments
        for name in sorted(deployment.job_variables - set(known))
    ]
    if problems:
        raise DeploymentsInvalid("\n".join(problems))


def _parse(path: Path) -> tuple[dict[str, Any], dict[Place, int]]:
    try:
        text = path.read_text(encoding="utf-8")
        node, content = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise DeploymentsInvalid(f"{path} cannot be read: {exc}") from exc
    if not isinstance(content, dict) or not isinstance(content.get("deployments"), list):
        raise DeploymentsInvalid(f"{path} has no list of `deployments`: see Prefect's documentation of prefect.yaml.")
    return content, dict(_lines(node, ()))


def _lines(node: yaml.Node | None, at: Place) -> Iterator[tuple[Place, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*at, key.value), key.start_mark.line + 1
            yield from _lines(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1
            yield from _lines(value, (*at, index))


# Filled in later than at deployment: steps in the pod, triggers from their event.
_TEMPLATED_LATER = ("build", "push", "pull", "triggers")
_VARIABLE = re.compile(r"{{\s*\$(\w+)\s*}}")


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


def _message(path: Path, content: dict[str, Any], lines: Mapping[Place, int], problems: list[Problem]) -> str:
    count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    found = sorted((_line(place, lines), _with_value(place, text, content)) for place, text in problems)
    return "\n".join([f"{path} has {count}; nothing was changed.", *(f"  line {line}: {text}" for line, text in found)])


def _line(place: Place, lines: Mapping[Place, int]) -> int:
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _with_value(place: Place, text: str, content: dict[str, Any]) -> str:
    if len(place) < 2 or place[0] != "deployments":
        return f"{'.'.join(map(str, place))} {text}"
    entry = content["deployments"][place[1]]
    name = entry.get("name") if isinstance(entry, dict) else None
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place[2:]).removeprefix(".")
    return f"deployment {name or place[1]!r}: {key} {text}".replace(":  ", ": ")
