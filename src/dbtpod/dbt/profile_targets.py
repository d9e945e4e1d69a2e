"""The targets of a user's profile: which of them runs can use, and what stands against the others."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from dbtpod.dbt import arguments, kinds, lake, profile
from dbtpod.dbt.profile_source import Unusable
from dbtpod.dbt.project import CATALOG, DUCKDB, DUCKLAKE, Target
from dbtpod.dbt.rendering import Renderer, VariableMissing

_FIX = "Give it a file, such as `path: shop.duckdb`, or choose another target"
# Stands for a variable whose value is not known.
_UNKNOWN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Judged:
    """The targets that can be used, by their names; and, as texts, what is wrong and what a user should know."""

    targets: dict[str, Target] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge(found: Any, where: str, environment: Mapping[str, str]) -> Judged:
    """Look at each target of a profile; `where` begins each text.

    A default target that cannot be used is a problem; any other one is left out, with a note.
    """
    outputs = found.get("outputs") if isinstance(found, dict) else None
    if not isinstance(outputs, dict) or not outputs:
        return Judged(problems=[f"{where} has no `outputs`: add a target of type duckdb to it."])
    judged = Judged()
    default = _default(found, where, environment, judged)
    for name, output in outputs.items():
        here = f"{where}, target `{name}`"
        try:
            target = _target(output, here, environment, judged.notes)
            # Another environment may take another target of the same image.
            if name == default and (misfit := kinds.misfit(kinds.declared(environment) or "", target.adapter)):
                raise Unusable(misfit)
            judged.targets[name] = target
        except Unusable as reason:
            if name == default:
                judged.problems.append(f"{here} {reason}")
            else:
                judged.notes.append(f"{here} is left out: it {reason}")
    if not judged.targets and not judged.problems:
        judged.problems.append(f"{where} has no target that can be used: add one of type duckdb.")
    return judged


def _default(found: Mapping[str, Any], where: str, environment: Mapping[str, str], judged: Judged) -> str | None:
    """Return the target of a command that names none; None where only the pod knows it."""
    text = arguments.variable(environment, "TARGET") or found.get("target") or "default"
    outputs = found["outputs"]
    try:
        name = Renderer(environment)(text)
    except VariableMissing as missing:
        judged.notes.append(f"{where}: its target is {text!r}, and {missing} has no value here: each pod needs it.")
        return None
    except Exception as error:  # whatever a template may raise
        judged.problems.append(f"{where}: its target is {text!r}, which cannot be rendered: {error}.")
        return None
    if name not in outputs:
        listed = ", ".join(f"`{each}`" for each in outputs)
        judged.problems.append(
            f"{where} has no target `{name}`, which is its default; it has {listed}. Set `target:` to one of them."
        )
    return name


def _target(output: Any, here: str, environment: Mapping[str, str], notes: list[str]) -> Target:
    """Return what is known of a target; Unusable says why it is not."""
    if not isinstance(output, dict) or "type" not in output:
        raise Unusable("has no `type`: write `type: duckdb`.")
    adapter = _rendered(output, "type", environment)
    if _UNKNOWN in adapter:
        raise Unusable(f"has `type: {output['type']}`, and that variable has no value here: set it.")
    if adapter == DUCKDB:
        _check_shape(output)
        if reason := lake.problem(output):
            raise Unusable(reason)
        if found := lake.attached(output):
            return Target(DUCKLAKE, str(found["alias"]))
        return Target(DUCKDB, _catalog(output, here, environment, notes))
    if not re.fullmatch(r"\w+", adapter) or not find_spec(f"dbt.adapters.{adapter}"):
        raise Unusable(f"is of type {adapter}, which is not installed: install dbt-{adapter}, or use duckdb.")
    notes.append(f"{here} is of type {adapter} and used as it is, in an environment with warehouse.kind remote.")
    return Target(adapter)


def _check_shape(output: Mapping[str, Any]) -> None:
    """Check that what is written anew is what dbt-duckdb takes."""
    if not isinstance(output.get("config_options") or {}, dict):
        raise Unusable("has `config_options` that are no mapping of names to values.")
    for key in ("attach", "plugins"):
        items = output.get(key) or []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise Unusable(f"has `{key}` that is no list of mappings.")


def _catalog(output: Mapping[str, Any], here: str, environment: Mapping[str, str], notes: list[str]) -> str:
    """Return the name of the run's file: that of the target's own, so that SQL which names its catalog works."""
    if output.get("remote"):
        raise Unusable(f"runs on a server (`remote:`), which has no file to publish. {_FIX}.")
    if attached := profile.attached(output):
        raise Unusable(
            f"writes its models to the attached database `{attached['alias']}`, which is not what is published. Leave "
            "`database` out, and they are in the warehouse."
        )
    path = _rendered(output, "path", environment) if output.get("path") else profile.MEMORY
    if path == profile.MEMORY:
        notes.append(f"{here} builds in memory: here it builds in a file of the volume, which is kept.")
        # dbt-duckdb wants the two to be the same.
        named = str(output.get("database", ""))
        return named if re.fullmatch(r"\w+", named) else CATALOG
    if scheme := profile.scheme(path):
        # The rest of it may be a token.
        place = "in MotherDuck" if scheme in ("md", "motherduck") else "elsewhere"
        raise Unusable(f"has its data {place} (`path: {scheme}:…`), where no file can be published. {_FIX}.")
    name = profile.catalog(path)
    if _UNKNOWN not in name:
        return name or CATALOG
    notes.append(
        f"{here}: its path is {output['path']!r}, whose variable has no value here, so its file is "
        f"{CATALOG}.duckdb. If SQL names another catalog, set that variable where `dbtpod bake` runs."
    )
    return CATALOG


def _rendered(output: Mapping[str, Any], key: str, environment: Mapping[str, str]) -> str:
    """One value, with _UNKNOWN in place of variables that have none."""
    known = dict(environment)
    while True:
        try:
            return Renderer(known)(output[key])
        except VariableMissing as missing:
            known[str(missing)] = _UNKNOWN
        except Exception as error:  # whatever a template may raise
            raise Unusable(f"has `{key}: {output[key]}`, which cannot be rendered: {error}.") from error
