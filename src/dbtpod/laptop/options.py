"""The options of `dbtpod run --select …`: a field of RunRequest each, with the short names that dbt has for them."""

from collections.abc import Iterator, Sequence
from typing import Any, get_args

import click
import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from dbtpod.dbt import arguments, yaml_file
from dbtpod.request import RunRequest

_SHORT = {"select": ["-s"], "full_refresh": ["-f"], "fail_fast": ["-x"], "resource_types": ["--resource-type"]}


def request(words: Sequence[str]) -> RunRequest:
    """Read the options; click.UsageError for one that is unknown, or whose value is wrong."""
    command = click.Command("dbtpod run", params=list(_options()), add_help_option=False)
    # A value may begin with a dash, which is then said of it.
    with command.make_context("dbtpod run", list(_spread(words))) as context:
        given = {name: value for name, value in context.params.items() if value not in (None, ())}
        try:
            return RunRequest.model_validate(given)
        except ValidationError as error:
            raise click.UsageError("\n".join(map(_said, error.errors())), context) from error


def records() -> list[tuple[str, str]]:
    """Give the options with their descriptions, for the help."""
    context = click.Context(click.Command("dbtpod run"))
    return [record for option in _options() if (record := option.get_help_record(context))]


def _options() -> Iterator[click.Option]:
    for name, field in RunRequest.model_fields.items():
        yield click.Option(
            [f"--{name.replace('_', '-')}", *_SHORT.get(name, ())], help=field.description, **_kind(name, field)
        )


def _kind(name: str, field: FieldInfo) -> dict[str, Any]:
    if field.annotation is bool:
        return {"is_flag": True, "default": None}
    if isinstance(field.get_default(), list):
        return {"multiple": True, "metavar": "NAME"}
    if name == "vars":
        return {"callback": _mapping, "metavar": "JSON"}
    return {"metavar": "|".join(get_args(field.annotation)) or "TEXT"}


def _mapping(_: click.Context, __: click.Parameter, value: str | None) -> Any:
    """Read --vars as dbt does: YAML, and so JSON."""
    try:
        found = value and yaml_file.parse(value)
    except yaml.YAMLError as error:
        raise click.BadParameter(f"it is no YAML: {error}") from error
    if value is not None and not isinstance(found, dict):
        raise click.BadParameter("""it is a mapping, such as '{"day": "2026-01-31"}'.""")
    return found


def _spread(words: Sequence[str]) -> Iterator[str]:
    """Give each value its option: after --select, dbt takes all words up to the next option."""
    option = ""
    for index, word in enumerate(words):
        if word.startswith("-"):
            option = word if arguments.parse([word]).words[0].name in arguments.MULTIPLE and "=" not in word else ""
        elif option and words[index - 1] != option:
            yield option
        yield word


def _said(error: ErrorDetails) -> str:
    place = f"--{str(error['loc'][0]).replace('_', '-')}: " if error["loc"] else ""
    return place + error["msg"].removeprefix("Value error, ")
