"""What `dbtpod run` is asked for: a deployment of prefect.yaml, a dbt command, options of a request, or nothing."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dbtpod.dbt import arguments
from dbtpod.errors import SettingsError
from dbtpod.faststart import importing
from dbtpod.laptop.place import Place
from dbtpod.registration.entrypoints import ASKED, READY, did_you_mean

# What dbt has, without what makes no sense in a run: `init`, `debug`, `clean`.
VERBS = {*arguments.KINDS, "clone", "compile", "deps", "docs", "list", "ls", "parse", "retry", "run-operation"} | {
    "show",
    "source",
}


@dataclass(frozen=True)
class Choice:
    """A flow and what it is called with."""

    entrypoint: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    # What the user calls it.
    name: str = ""


def choose(words: Sequence[str], place: Place) -> Choice:
    """Find what the words name: a deployment's name, the words of a dbt command, or none for the first deployment.

    Words that begin with an option are a request, as the form of `dbt-run` is. A project without a prefect.yaml is
    built. SettingsError names the nearest where there is no such thing; DeploymentsInvalid has every error of the
    prefect.yaml, click.UsageError what is wrong with an option.
    """
    words = words[1:] if words[:1] == ("dbt",) else words
    names = _names(place.prefect_yaml)
    if not words:
        return _deployment(names[0], place) if names else _command(["build"])
    if words[0].startswith("-"):
        return _request(words)
    if len(words) == 1 and words[0] in names:
        return _deployment(words[0], place)
    if arguments.parse(words).verb in VERBS:
        return _command(words)
    what = " ".join(words)
    near = did_you_mean(words[0], [*names, *sorted(VERBS)]) or "."
    known = f" The deployments: {', '.join(names)}." if names else ""
    raise SettingsError(
        f"{what!r} is no deployment of {place.shown(place.prefect_yaml)} and no dbt command{near}{known}"
    )


def _command(words: Sequence[str]) -> Choice:
    return Choice(READY, {"commands": [list(words)]}, arguments.text(words))


def _request(words: Sequence[str]) -> Choice:
    # It imports Prefect, whose settings are made before this is called.
    with importing.quickly():
        from dbtpod.laptop import options

    asked = options.request(words)
    return Choice(ASKED, {"request": asked.model_dump(exclude_unset=True)}, f"dbtpod run {shlex.join(words)}")


def _deployment(name: str, place: Place) -> Choice:
    # Half a second of imports, which a dbt command does without.
    with importing.quickly():
        from dbtpod.registration import deployments

    file = deployments.read(place.prefect_yaml)
    [found] = [deployment for deployment in file.deployments if deployment.name == name]
    if found.entrypoint == ASKED and not found.parameters:
        raise SettingsError(
            f"{name} runs what its form says. Here that is said by options, such as dbtpod run --select orders+; "
            "dbtpod run --help lists them."
        )
    return Choice(found.entrypoint, found.parameters, name)


def _names(path: Path) -> list[str]:
    """Return the names of the deployments as far as they can be read; `deployments.read` says what is wrong."""
    if not path.is_file():
        return []
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
    entries = content.get("deployments") if isinstance(content, dict) else None
    entries = entries if isinstance(entries, list) else []
    return [str(entry.get("name") or "") for entry in entries if isinstance(entry, dict)]
