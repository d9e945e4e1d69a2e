"""The names of a project that commands may give, and those that a criterion of a selection may have meant."""

import re
from collections.abc import Mapping
from typing import Any

Names = Mapping[str, tuple[str, ...]]

_BEFORE = re.compile(r"^(@|\d*\+)")
_AROUND = re.compile(r"^(@|\d*\+)|\+\d*$")


def of(manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Read them from dbt's manifest.json; "fresh" are the sources with freshness, as `ls --output selector` writes."""
    nodes = [each for each in manifest["nodes"].values() if each["resource_type"] != "operation"]
    nodes += manifest["unit_tests"].values()
    sources, macros = manifest["sources"].values(), manifest["macros"].values()
    return {
        "nodes": _sorted(node["name"] for node in nodes),
        "sources": _sorted(f"{source['source_name']}.{source['name']}" for source in sources),
        "fresh": _sorted(_selector(source) for source in sources if _has_freshness(source)),
        "tags": _sorted(tag for each in (*nodes, *sources) for tag in (each.get("config") or {}).get("tags") or ()),
        "selectors": _sorted(manifest["selectors"]),
        "macros": _sorted(name for each in macros for name in (each["name"], f"{each['package_name']}.{each['name']}")),
    }


def plain(criterion: str) -> str:
    """Return the name in a criterion.

    >>> plain("2+tag:daily+1")
    'daily'
    """
    return _AROUND.sub("", criterion).rpartition(":")[2]


def candidates(criterion: str, names: Names) -> tuple[str, ...]:
    """Return the names that a criterion may have meant; none where it is not by name, as a path."""
    method = _BEFORE.sub("", criterion).rpartition(":")[0]
    kinds = {"": "nodes", "tag": "tags", "source": "sources", "selector": "selectors"}
    return names[kinds[method]] if method in kinds else ()


def _selector(source: Mapping[str, Any]) -> str:
    return f"source:{source['package_name']}.{source['source_name']}.{source['name']}"


def _has_freshness(source: Mapping[str, Any]) -> bool:
    limits = [(source.get("freshness") or {}).get(name) or {} for name in ("warn_after", "error_after")]
    return any(limit.get("count") is not None and limit.get("period") is not None for limit in limits)


def _sorted(names: Any) -> tuple[str, ...]:
    return tuple(sorted(set(names)))
