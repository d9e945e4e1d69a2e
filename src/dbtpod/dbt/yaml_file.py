"""A YAML file of a dbt project, of which nothing is certain: dbt and `dbtpod check` say what is wrong with it."""

from pathlib import Path
from typing import Any

import yaml


def parse(text: str) -> Any:
    """Read YAML as dbt does; raises yaml.YAMLError."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def read(file: Path) -> Any:
    """Read a file; raises OSError, UnicodeDecodeError or yaml.YAMLError."""
    return parse(file.read_text(encoding="utf-8"))


def load(file: Path) -> Any:
    """Return what a file has; None where it has no YAML or is not there."""
    try:
        return read(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def mappings(content: Any, key: str) -> list[dict[str, Any]]:
    """Return the mappings of the list under this key, and nothing where something else stands there.

    >>> mappings({"sources": [{"name": "raw"}, None]}, "sources")
    [{'name': 'raw'}]
    """
    found = content.get(key) if isinstance(content, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
