"""Writes values.schema.json from the comments of values.yaml; README.md is written by helm-docs from the same ones.

A comment that begins with `# --` describes the value below it, as helm-docs reads it. What its default does not say is
behind a value as `# @schema key:value;key:value`, in the words of helm-values-schema-json: our own definitions are in
definitions.yaml, and what belongs to Kubernetes is Kubernetes' own (kubernetes-validate brings it along), tightened by
amendments.yaml. The tools that write such a schema, helm-values-schema-json and helm-schema, come from a release page,
read Kubernetes' definitions from the network, and cannot tighten them; all that this needs is in uv.lock.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import yaml

HERE = Path(__file__).parent
KUBERNETES = "v1.34.0"

Schema = dict[str, Any]

_KINDS = {bool: "boolean", str: "string", int: "integer", float: "number", dict: "object"}
_REFERENCE = re.compile(r'"#/\$defs/([^"]+)"')


class Undescribed(Exception):
    """A value whose comment or @schema does not say enough; the message names its line."""


def schema(text: str, definitions: Mapping[str, Any], amendments: Mapping[str, Any]) -> Schema:
    """Return the schema of a values file.

    >>> schema("# -- How many.\\nsize: 2 # @schema minimum:1\\n", {}, {})["properties"]["size"]
    {'description': 'How many.', 'type': 'integer', 'minimum': 1, 'default': 2}
    """
    root = yaml.compose(text, yaml.SafeLoader)
    values = _object(root, text.splitlines(), "")
    # Helm adds it where the chart is part of another one.
    values["properties"]["global"] = {"type": "object", "description": "Helm's own, for a chart of charts."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of dbtpod",
        **values,
        "$defs": _needed(json.dumps(values), definitions, amendments),
    }


def _object(node: Any, lines: list[str], path: str) -> Schema:
    properties, required = {}, []
    for key, child in node.value:
        whole = f"{path}.{key.value}".removeprefix(".")
        line = key.start_mark.line
        given = _annotation(lines[line])
        if given.pop("required", True):
            required.append(key.value)
        text = _description(lines, line)
        if isinstance(child, yaml.MappingNode) and child.value and "$ref" not in given:
            properties[key.value] = {"description": text, **_object(child, lines, whole), **given}
            continue
        default = yaml.safe_load(yaml.serialize(child))
        kind = _KINDS.get(type(default))
        if not text or (kind in (None, "object") and not given):
            raise Undescribed(
                f"values.yaml:{line + 1}: {whole} needs a comment (`# -- …`) and, as a list or map, a @schema"
            )
        inferred = {} if not kind or {"$ref", "enum", "type"} & set(given) else {"type": kind}
        properties[key.value] = {"description": text, **inferred, **given, "default": default}
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _annotation(line: str) -> Schema:
    _, _, text = line.partition("# @schema ")
    pairs = (each.partition(":") for each in text.split(";") if each)
    return {key: value if key == "$ref" else yaml.safe_load(value) for key, _, value in pairs}


def _description(lines: list[str], line: int) -> str:
    above = []
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        above.append(lines[line].strip().lstrip("# ").removeprefix("-- "))
    return " ".join(reversed(above))


def _needed(text: str, ours: Mapping[str, Any], amendments: Mapping[str, Any]) -> Schema:
    """Return each definition that is referred to, also by another one."""
    found: Schema = {}
    waiting = set(_REFERENCE.findall(text))
    while waiting:
        name = waiting.pop()
        found[name] = ours[name] if name in ours else _kubernetes(name, amendments)
        waiting |= set(_REFERENCE.findall(json.dumps(found[name]))) - set(found)
    return dict(sorted(found.items()))


def _kubernetes(name: str, amendments: Mapping[str, Any]) -> Schema:
    amended = amendments.get(name, {})
    if name.endswith("Quantity"):
        return dict(amended)
    definition = dict(_without_prose(_definitions()[name]))
    properties = {**definition.get("properties", {}), **amended.get("properties", {})}
    return {**definition, **amended, **({"properties": properties} if properties else {})}


def _without_prose(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_prose(each) for each in node]
    if not isinstance(node, dict):
        return node
    prose = {
        key for key, value in node.items() if key.startswith("x-") or (key == "description" and isinstance(value, str))
    }
    return {key: _without_prose(value) for key, value in node.items() if key not in prose}


def _definitions() -> Schema:
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"{KUBERNETES}-local-strict"
    return dict(json.loads((folder / "_definitions.json").read_text())["$defs"])


def defaults(node: Mapping[str, Any]) -> Schema:
    """Return the values of a schema that has a default for each."""
    return {
        key: child["default"] if "default" in child else defaults(child)
        for key, child in node["properties"].items()
        if "default" in child or "properties" in child
    }


def files() -> Iterator[tuple[Path, str]]:
    """Yield what is generated."""
    read = {name: yaml.safe_load((HERE / f"{name}.yaml").read_text()) for name in ("definitions", "amendments")}
    made = schema((HERE / "dbtpod/values.yaml").read_text(), **read)
    text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    yield HERE / "dbtpod/values.schema.json", text
    # For `dbtpod check`, which is installed without the chart.
    yield HERE.parent / "src/dbtpod/check/values.schema.json", text
    # A template cannot read the defaults of its own chart, and says by them which value has been set.
    yield HERE / "dbtpod/defaults.json", json.dumps(defaults(made), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in files():
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(HERE.parent)}\n")
