"""A mapping of a YAML file as a pydantic model that finds all its errors together, each with its place and fix."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, ValidationInfo, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from dbtpod.registration.entrypoints import did_you_mean

Place = tuple[str | int, ...]  # ("deployments", 0, "work_pool", "name")
Problem = tuple[Place, str]

# What pydantic calls a value of another type, and what we say.
_WANTED = {
    "string_type": "text",
    "dict_type": "a mapping",
    "list_type": "a list",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "none_required": "",
}
_TAG = "|"


@dataclass(frozen=True)
class Around:
    """What the rules know beside the file: its folder, and the work pool that is registered."""

    folder: Path
    pool: str


class StrictMapping(BaseModel):
    """A mapping of the file. All its errors are found together, each with its place and what to write instead."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    # What stands where a mapping should, and what is said of a key that must be there.
    expected: ClassVar[str] = "write a mapping"
    missing: ClassVar[Mapping[str, str]] = {}
    refused: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def rules(cls, given: dict[str, Any], around: Around) -> Iterator[Problem]:
        """Yield what the types do not say, with its place in this mapping."""
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _all_at_once(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if not isinstance(value, dict):
            raise _problem(f"is {value!r}: {cls.expected}")
        made: Self | None = None
        found: list[Problem] = []
        try:
            made = handler(value)
        except ValidationError as error:
            found += cls._translated(error.errors())
        around: Around = info.context  # type: ignore[assignment]
        found += cls.rules(value, around)
        if found or made is None:
            errors = [InitErrorDetails(type=_problem(text), loc=place, input=value) for place, text in found]
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return made

    @classmethod
    def _translated(cls, errors: list[ErrorDetails]) -> Iterator[Problem]:
        """Say each of pydantic's errors in our words; those of one key that has several types as one."""
        unknown = [str(error["loc"][-1]) for error in errors if error["type"] == "extra_forbidden"]
        wanted: dict[Place, list[str]] = {}
        inputs: dict[Place, Any] = {}
        for error in errors:
            place = tuple(part for part in error["loc"] if not str(part).startswith(_TAG))
            if error["type"] == _PROBLEM:
                yield place, error["msg"]
            elif error["type"] == "missing":
                # Where it is only misspelt, that is said.
                if not did_you_mean(place[-1], unknown):
                    yield (), cls.missing[str(place[-1])]
            elif error["type"] == "extra_forbidden":
                yield place, cls._unknown(str(place[-1]))
            elif text := _WANTED.get(error["type"], error["msg"]):
                # Of a union, pydantic's place ends with the type that was tried.
                wanted.setdefault(place[:1], []).append(text)
                inputs[place[:1]] = error["input"]
        for place, texts in wanted.items():
            yield place, f"is {inputs[place]!r}: it must be {' or '.join(dict.fromkeys(texts))}"

    @classmethod
    def _unknown(cls, key: str) -> str:
        if key in cls.refused:
            return f"is not for prefect.yaml here: {cls.refused[key]}"
        return f"is an unknown key, which Prefect would ignore{did_you_mean(key, keys(cls))}"


def keys(model: type[BaseModel]) -> set[str]:
    """Return the keys of a mapping, as they are written."""
    return {field.alias or name for name, field in model.model_fields.items()}


_PROBLEM = "problem"


def _problem(text: str) -> PydanticCustomError:
    # The text may hold a user's braces, which a template would take for its own.
    return PydanticCustomError(_PROBLEM, "{text}", {"text": text})
