"""A JSON schema's verdict in our words: each error with its place and what to write."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from dbtpod.registration.entrypoints import did_you_mean
from dbtpod.registration.yaml_file import Place, Problem

_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
_BOUNDS = {
    "minimum": "it must be at least {}",
    "exclusiveMinimum": "it must be more than {}",
    "maximum": "it must be at most {}",
}


def problems(schema: Mapping[str, Any], given: Any) -> Iterator[Problem]:
    """Yield what is wrong with a value by its schema."""
    for error in jsonschema.Draft7Validator(schema).iter_errors(given):
        yield from _translated(error, tuple(error.absolute_path))


def _unknown(schema: Mapping[str, Any], value: Mapping[str, Any]) -> list[str]:
    keys = sorted(set(value) - set(schema.get("properties", {})))
    return [key for key in keys if not any(re.search(each, key) for each in schema.get("patternProperties", {}))]


def _translated(error: Any, place: Place) -> Iterator[Problem]:
    wanted, value = error.validator_value, error.instance
    match error.validator:
        case "additionalProperties" if wanted is False:
            known = error.schema.get("properties", {})
            for key in _unknown(error.schema, value):
                yield (*place, key), f"is an unknown key{did_you_mean(key, known)}"
        case "required":
            missing = [name for name in wanted if name not in value]
            yield place, f"has no {' and no '.join(missing)}: write it"
        case "oneOf" | "anyOf":
            keys = [name for each in wanted for name in each.get("required", ())]
            yield place, f"must have one of {', '.join(keys)}" if keys else error.message
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            quotes = ", so put it in quotes" if "string" in kinds and isinstance(value, bool | int | float) else ""
            yield place, f"is {value!r}: it must be {' or '.join(_KINDS[kind] for kind in kinds)}{quotes}"
        case "enum":
            yield place, f"is {value!r}: it must be one of {', '.join(map(str, wanted))}{did_you_mean(value, wanted)}"
        case "pattern":
            examples = error.schema.get("examples")
            yield (
                place,
                f"is {value!r}: it must " + (f"be as {' or '.join(examples)}" if examples else f"match {wanted}"),
            )
        case "minLength" | "minItems":
            yield place, f"is {value!r}: it must not be empty"
        case kind if kind in _BOUNDS:
            yield place, f"is {value!r}: {_BOUNDS[kind].format(wanted)}"
        case _:
            yield place, error.message
