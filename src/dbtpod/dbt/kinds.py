"""Where a project's data is kept: in a DuckDB file on the volume, in a DuckLake, or in the database of its adapter.

One value says it: the chart's warehouse.kind, which pods have as DBTPOD_WAREHOUSE_KIND. Where an image is built, and by
`dbtpod check`, the values.yaml beside prefect.yaml is read for it. Where nothing says it, as on a laptop, the profile's
default target decides.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbtpod.dbt import yaml_file
from dbtpod.dbt.project import DUCKDB, Facts, Target
from dbtpod.dbt.project import DUCKLAKE as LAKE_ADAPTER

FILE, DUCKLAKE, REMOTE = "file", "ducklake", "remote"
KINDS = (FILE, DUCKLAKE, REMOTE)
VARIABLE = "DBTPOD_WAREHOUSE_KIND"
_WHAT = {DUCKDB: "is of type duckdb and builds in a local file", LAKE_ADAPTER: "builds in a DuckLake"}
_PLACES = {FILE: "a DuckDB file on the volume", DUCKLAKE: "a DuckLake", REMOTE: "a database server"}
_TARGETS = {
    FILE: "a target of type duckdb",
    DUCKLAKE: "a target whose `database` is an attached DuckLake",
    REMOTE: "a target of that server",
}

# Why a kind takes one writer at a time.
ONE_WRITER = {
    FILE: "a DuckDB file takes one writer at a time",
    DUCKLAKE: "a DuckLake loses what concurrent writers commit (duckdb/ducklake#1283, #1094, #1404)",
}


def declared(environment: Mapping[str, str]) -> str | None:
    """Return the kind that the environment names, which may be no kind at all; None where it names none."""
    return environment.get(VARIABLE) or None


def of_values(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a kind that values.yaml in the folder names, with the target that it is for, if any.

    Nothing where the environment names a kind. What is wrong with that file, `dbtpod check` and the chart say.
    """
    content = yaml_file.load(folder / "values.yaml")
    kind, target = _text(content, "warehouse", "kind"), _text(content, "environment", "target")
    if not kind or declared(environment):
        return {}
    return {VARIABLE: kind} | ({"DBT_TARGET": target} if target else {})


def _text(content: Any, part: str, key: str) -> str:
    of_part = content.get(part) if isinstance(content, dict) else None
    found = of_part.get(key) if isinstance(of_part, dict) else None
    return found if isinstance(found, str) else ""


def needed(adapter: str) -> str:
    """Return the kind that a target of this adapter needs.

    >>> needed("duckdb"), needed("ducklake"), needed("postgres")
    ('file', 'ducklake', 'remote')
    """
    return {DUCKDB: FILE, LAKE_ADAPTER: DUCKLAKE}.get(adapter, REMOTE)


def default_target(facts: Facts, environment: Mapping[str, str]) -> tuple[str, Target] | None:
    """Return the target of a command that names none; None where only a pod can tell."""
    name = facts.default(environment)
    return (name, facts.targets[name]) if name and name in facts.targets else None


def misfit(kind: str, adapter: str) -> str:
    """Say why a target of this adapter cannot be used with that kind, and what to do; "" where it can.

    It follows the target's name.
    """
    if kind not in KINDS or needed(adapter) == kind:
        return ""
    fits, what, place = needed(adapter), _WHAT.get(adapter, f"is of type {adapter}"), _PLACES[kind]
    return (
        f"{what}, and warehouse.kind is {kind}: the data would be in {place}. Set warehouse.kind to {fits} in the "
        f"chart's values ({VARIABLE}={fits}), or choose {_TARGETS[kind]} (environment.target, DBT_TARGET)."
    )
