"""A YAML file of a dbt project, of which nothing is certain: dbt, and not `dbtpod init`, says what is wrong with it."""

from pathlib import Path
from typing import Any

import yaml


def load(file: Path) -> Any:
    """Return what a file has; None where it has no YAML or is not there: `dbtpod check` says that."""
    try:
        return yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def mappings(content: Any, key: str) -> list[dict[str, Any]]:
    """Return the mappings of the list under this key, and nothing where something else stands there."""
    found = content.get(key) if isinstance(content, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
