"""Whether the sources of a dbt project have a limit for their freshness, by the files that describe them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dbtpod.dbt.yaml_file import load, mappings


def have_freshness(files: Iterable[Path], settings: Mapping[str, Any]) -> bool:
    """Say whether `dbt source freshness` has anything to look at; `settings` are those of dbt_project.yml."""
    of_project = _configured(settings.get("sources"))
    for file in files:
        # Large projects have hundreds of these files, and it takes a second to parse ten.
        if "sources" in file.read_text(encoding="utf-8", errors="replace"):
            for source in mappings(load(file), "sources"):
                tables = [table for table in mappings(source, "tables") if _is_enabled(source) and _is_enabled(table)]
                if any(_is_limit(_freshness(table, _freshness(source, of_project))) for table in tables):
                    return True
    return False


def _freshness(described: Mapping[str, Any], default: Any) -> Any:
    """Return what a source or a table says of its freshness: null takes away what stands above it."""
    for mapping in (described, described.get("config")):
        if isinstance(mapping, dict) and "freshness" in mapping:
            return mapping["freshness"]
    return default


def _configured(settings: Any) -> Any:
    """Return the freshness that dbt_project.yml gives to sources, whichever they are."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            found = value if key in ("freshness", "+freshness") else _configured(value)
            if _is_limit(found):
                return found
    return None


def _is_limit(freshness: Any) -> bool:
    return isinstance(freshness, dict) and bool(freshness.get("warn_after") or freshness.get("error_after"))


def _is_enabled(described: Mapping[str, Any]) -> bool:
    config = described.get("config")
    return not (isinstance(config, dict) and config.get("enabled") is False)
