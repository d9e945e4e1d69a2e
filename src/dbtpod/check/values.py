"""values.yaml, and other files of values beside it, by the schema of the chart."""

import json
from collections.abc import Iterator
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from dbtpod.check.finding import Finding
from dbtpod.registration import schema, yaml_file
from dbtpod.registration.yaml_file import Diagnostic, Place

_FILES = ("values.y*ml", "values-*.y*ml")


def findings(folder: Path) -> Iterator[Finding]:
    """Yield what is wrong with values.yaml, values-prod.yaml and the like in the folder."""
    rules = json.loads(files("dbtpod.check").joinpath("values.schema.json").read_text())
    for path in sorted(path for pattern in _FILES for path in folder.glob(pattern)):
        shown = path.relative_to(folder)
        file = yaml_file.read(path)
        if isinstance(file, Diagnostic):
            yield Finding(shown, file.line, file.text)
            continue
        problems = [*file.repeated, *schema.problems(rules, _as_helm(file.content) or {})]
        for place, text in sorted(problems, key=lambda problem: file.line(problem[0])):
            yield Finding(shown, file.line(place), f"{_key(place)} {text}".strip())


def pool(folder: Path) -> str | None:
    """Return the work pool that values.yaml names; None where the release gives it its own name."""
    file = yaml_file.read(folder / "values.yaml")
    if isinstance(file, Diagnostic):
        return None
    given = file.content.get("workPool") if isinstance(file.content, dict) else None
    name = given.get("name") if isinstance(given, dict) else None
    return name if name and isinstance(name, str) else None


def _as_helm(value: Any) -> Any:
    """Return a value as Helm reads it: a key with null takes away the chart's own, and a date is text."""
    if isinstance(value, dict):
        return {str(key): _as_helm(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_as_helm(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


def _key(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
