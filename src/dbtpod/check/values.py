"""values.yaml, and other files of values beside it, by the schema of the chart."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from dbtpod.check.finding import Finding
from dbtpod.dbt import kinds
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
        problems = [*file.repeated, *schema.problems(rules, _as_helm(rules, file.content or {}))]
        for place, text in sorted([*problems, *_writers(file.content)], key=lambda problem: file.line(problem[0])):
            yield Finding(shown, file.line(place), f"{_key(place)} {text}".strip())


def _writers(content: Any) -> Iterator[tuple[Place, str]]:
    """Yield what the chart's own check says of several writers: no schema of one value can."""
    given = content.get("warehouse") if isinstance(content, dict) else None
    kind = given.get("kind", kinds.FILE) if isinstance(given, dict) else None
    if not isinstance(given, dict) or kind not in kinds.ONE_WRITER:
        return
    writers = given.get("writers", 1)
    if isinstance(writers, int) and writers > 1:
        text = f"is {writers}, and warehouse.kind is {kind}: {kinds.ONE_WRITER[kind]}; leave it at 1"
        yield ("warehouse", "writers"), text


def pool(folder: Path) -> str | None:
    """Return the work pool that values.yaml names; None where the release gives it its own name."""
    file = yaml_file.read(folder / "values.yaml")
    if isinstance(file, Diagnostic):
        return None
    given = file.content.get("workPool") if isinstance(file.content, dict) else None
    name = given.get("name") if isinstance(given, dict) else None
    return name if name and isinstance(name, str) else None


def _as_helm(rules: Mapping[str, Any], given: Any) -> Any:
    """Return the values as Helm does: over the chart's own, of which a key with null takes one away."""
    if not isinstance(given, dict):
        return _plain(given)
    properties = rules.get("properties", {})
    own = {key: each["default"] for key, each in properties.items() if "default" in each}
    inner = {key: _as_helm(each, given.get(key, {})) for key, each in properties.items() if "properties" in each}
    return _over(own | inner, {key: each for key, each in given.items() if key not in inner or each is None})


def _over(own: Any, given: Any) -> Any:
    if not (isinstance(own, dict) and isinstance(given, dict)):
        return _plain(given)
    both = own | {str(key): _over(own.get(str(key)), each) for key, each in given.items()}
    return {key: each for key, each in both.items() if each is not None}


def _plain(value: Any) -> Any:
    """Return a value without what JSON does not have: a date is text."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value


def _key(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
