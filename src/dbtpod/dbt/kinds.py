"""Where a project's data is kept: in a DuckDB file on the volume, or in the database of its adapter.

One value says it: the chart's warehouse.kind, which pods have as DBTPOD_WAREHOUSE_KIND. Where an image is built, and by
`dbtpod check`, the values.yaml beside prefect.yaml is read for it. Where nothing says it, as on a laptop, the profile's
default target decides.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dbtpod.dbt import yaml_file
from dbtpod.dbt.project import DUCKDB, Facts, Target

FILE, REMOTE = "file", "remote"
KINDS = (FILE, REMOTE)
VARIABLE = "DBTPOD_WAREHOUSE_KIND"


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

    >>> needed("duckdb"), needed("postgres")
    ('file', 'remote')
    """
    return FILE if adapter == DUCKDB else REMOTE


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
    if kind == FILE:
        return (
            f"is of type {adapter}, and warehouse.kind is file: the data would be in a DuckDB file on the volume. Set "
            f"warehouse.kind to remote in the chart's values ({VARIABLE}=remote), or choose a target of type duckdb "
            "(environment.target, DBT_TARGET)."
        )
    return (
        f"is of type {adapter} and builds in a local file, and warehouse.kind is remote: the data would be in a "
        f"database server. Set warehouse.kind to file in the chart's values ({VARIABLE}=file), or choose a target of "
        "that server (environment.target, DBT_TARGET)."
    )
