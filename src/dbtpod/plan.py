"""The plan of a dbt command: the nodes that it is to run, every one of them, known by name.

It comes from the results that dbt wrote, where their number is the one that dbt said it would run. Where an attempt
was stopped, or left nodes out, `dbt ls` with the same flags is asked, and its answer is believed only if all else
that is known of the attempt agrees with it. What cannot be known is PlanUnknown, and never an empty plan.
"""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbtpod.dbt import arguments, listing, process
from dbtpod.dbt.project import Project
from dbtpod.dbt.record import Attempt, is_hook
from dbtpod.dbt.repeatable import is_repeatable, is_undone
from dbtpod.warehouse import durable

_FILE = "plan.json"


class PlanUnknown(Exception):
    """Which nodes the command was to run cannot be said; the text gives the reason."""


@dataclass(frozen=True)
class _Node:
    is_counted: bool
    is_repeatable: bool  # run twice, it leaves the same as run once
    is_undone: bool  # where it failed, nothing of it is left
    model: str | None  # that a unit test belongs to


def of(project: Project, whole: Attempt) -> frozenset[str]:
    """Return the plan of an attempt that ran a command from its beginning; raises PlanUnknown."""
    known = by_results(whole)
    if known is None:
        known = _by_listing(project, whole)
        _write(whole, known)
    return known


def by_results(whole: Attempt) -> frozenset[str] | None:
    """Return the plan as that attempt itself left it; None where it was stopped before."""
    known = _written(whole.target_dir / _FILE)
    if known is None and (known := _by_results(whole)) is not None:
        _write(whole, known)
    return known


def listed(project: Project, args: Sequence[str], folder: Path) -> frozenset[str]:
    """Return the nodes of a command in the project as it is now, by `dbt ls` alone, which leaves its manifest there.

    Raises PlanUnknown, also with dbt's words where it cannot parse the project.
    """
    found = frozenset(_listed(project, args, folder))
    nodes = _manifest(folder)
    counted = frozenset(node_id for node_id in found if node_id in nodes and nodes[node_id].is_counted)
    return _without_idle(args, counted, nodes, found)


def uncertain(attempt: Attempt, broken: Set[str] = frozenset()) -> list[str]:
    """Return the nodes that it was stopped in and that may not run twice: whether their rows are there is not known.

    dbt says after its commit that a node ended, and may be killed in between. Of the nodes that are `broken`, the
    server may have committed what dbt calls an error; of those that failed otherwise, what came before the error, if
    their statements commit by themselves. Raises PlanUnknown.
    """
    stopped = attempt.unfinished | broken
    failed = _failed(attempt) - stopped
    nodes = _manifest(attempt.target_dir) if stopped or failed else {}
    unsure = {n for n in stopped if n not in nodes or not nodes[n].is_repeatable}
    return sorted(unsure | {n for n in failed & nodes.keys() if not (nodes[n].is_repeatable or nodes[n].is_undone)})


def _failed(attempt: Attempt) -> set[str]:
    return {node.node_id for node in attempt.report.nodes if node.failed} if attempt.report else set()


def _by_results(whole: Attempt) -> frozenset[str] | None:
    """Return the nodes of dbt's results, if they are as many as dbt said."""
    if whole.exit_code not in (0, 1) or whole.artifact is None:
        return None
    named = frozenset(node.node_id for node in whole.artifact.nodes if not is_hook(node.node_id))
    # Where none began, as in a build of exposures only, there is no number: dbt's success is enough then.
    agreed = len(named) == whole.total or (whole.total is None and whole.exit_code == 0)
    return named if agreed and whole.seen <= named else None


def _by_listing(project: Project, whole: Attempt) -> frozenset[str]:
    if whole.total is None or whole.args is None:
        raise PlanUnknown("no node of it had begun")
    nodes = _manifest(whole.target_dir)
    folder = whole.target_dir / "ls"
    folder.mkdir(exist_ok=True)
    found = frozenset(_listed(project, whole.args, folder))
    if strange := sorted(found - nodes.keys()):
        raise PlanUnknown(f"`dbt ls` names nodes that the attempt did not know: {_some(strange)}")
    counted = frozenset(node_id for node_id in found if nodes[node_id].is_counted)
    if len(counted) != whole.total:
        raise PlanUnknown(f"dbt was to run {whole.total} nodes, and `dbt ls` names {len(counted)}")
    if strange := sorted(whole.seen - counted):
        raise PlanUnknown(f"`dbt ls` does not name nodes that had begun: {_some(strange)}")
    return _without_idle(whole.args, counted, nodes, found)


def _without_idle(
    args: Sequence[str], counted: frozenset[str], nodes: Mapping[str, _Node], found: frozenset[str]
) -> frozenset[str]:
    """Leave out the unit tests whose model is not selected: dbt counts them, and does not run them in a build."""
    verb = arguments.parse(args).verb
    return frozenset(n for n in counted if verb != "build" or nodes[n].model is None or nodes[n].model in found)


def _listed(project: Project, args: Sequence[str], folder: Path) -> list[str]:
    environment = process.environment(project, folder)
    types = arguments.variable(environment, "RESOURCE_TYPES") or ""
    try:
        found = listing.ids(arguments.listing(args, types.split()), project, folder)
    except listing.NotListed as error:
        raise PlanUnknown(str(error)) from error
    if not found:
        raise PlanUnknown("`dbt ls` names no nodes")
    return found


def _manifest(target_dir: Path) -> dict[str, _Node]:
    try:
        manifest: Any = json.loads((target_dir / "manifest.json").read_text(encoding="utf-8"))
        adapter = str(manifest.get("metadata", {}).get("adapter_type"))
        kinds = ("nodes", "unit_tests", "exposures", "saved_queries", "functions")
        found = {node_id: node for kind in kinds for node_id, node in manifest.get(kind, {}).items()}
        return {node_id: _node(node_id, node, adapter) for node_id, node in found.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise PlanUnknown(f"its manifest.json cannot be read: {error}") from error


def _node(node_id: str, node: Any, adapter: str) -> _Node:
    """Whether dbt counts it: neither what is ephemeral nor an empty file, which only `dbt ls` names."""
    config = node.get("config") or {}
    ephemeral = config.get("materialized") == "ephemeral"
    empty = node.get("resource_type") in ("model", "test", "snapshot") and not (node.get("raw_code") or "").strip()
    parents = (node.get("depends_on") or {}).get("nodes") or [None]
    model = parents[0] if node_id.startswith("unit_test.") else None
    return _Node(not ephemeral and not empty, is_repeatable(config), is_undone(config, adapter), model)


def _write(whole: Attempt, known: frozenset[str]) -> None:
    durable.write_json(whole.target_dir / _FILE, {"nodes": sorted(known)})


def _written(file: Path) -> frozenset[str] | None:
    try:
        return frozenset(json.loads(file.read_text())["nodes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
