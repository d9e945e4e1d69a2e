"""The form of `dbt-run`: what it becomes, unchanged, and what it refuses, each with a sentence on what to do."""

import json
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from dbtpod import request
from dbtpod.dbt import arguments
from dbtpod.flows import run
from dbtpod.request import RunRequest

ID = "0198c3f2-6b1e-7c1a-9d57-3f0e5a4b2c1d"
RANGE = {"event_time_start": "2026-01-01", "event_time_end": "2026-04-01"}


def refusal(**fields: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        RunRequest(**fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"command": "biuld"}, "Input should be 'build', 'run', 'test', 'seed' or 'snapshot'"),
        ({"command": "build --select x"}, "Input should be 'build', 'run'"),
        ({"selct": ["orders"]}, "Extra inputs are not permitted"),
        ({"select": "orders"}, "Input should be a valid list"),
        ({"select": [7]}, "Input should be a valid string"),
        ({"select": [""]}, "is empty: write a name, or leave it out"),
        ({"exclude": ["  "]}, "is empty: write a name, or leave it out"),
        ({"select": ["orders", "--full-refresh"]}, "'--full-refresh' begins with a dash, so dbt would take it for an"),
        ({"exclude": ["-x"]}, "'-x' begins with a dash"),
        ({"selector": "-smoke"}, "'-smoke' begins with a dash"),
        ({"selector": " "}, "is empty"),
        ({"select": ["orders\0"]}, "has a character that cannot be printed"),
        ({"select": ["orders\n--vars"]}, "has a character that cannot be printed"),
        ({"selector": "smoke", "select": ["orders"]}, "With selector, dbt ignores select and exclude: give one"),
        ({"selector": "smoke", "exclude": ["orders"]}, "With selector, dbt ignores select and exclude: give one"),
        ({"resource_types": ["table"]}, "Input should be 'model', 'seed'"),
        ({"command": "run", "resource_types": ["model"]}, "resource_types is for build, and command is run: leave it"),
        ({"command": "test", "full_refresh": True}, "full_refresh is for build, run or seed, and command is test"),
        ({"command": "snapshot", "full_refresh": True}, "full_refresh is for build, run or seed, and command is snap"),
        ({"vars": [1]}, "Input should be a valid dictionary"),
        ({"vars": {"day": float("nan")}}, "vars has a value that dbt, which reads YAML, would take for another one"),
        ({"vars": {"n": 1e16}}, "write it as a text, in quotes"),
        ({"vars": {"k" * 1025: 1}}, "vars has a value that dbt, which reads YAML, would take for another one"),
        ({"vars": {"day": "\ud800"}}, "vars has a value that dbt"),
        ({"vars": {"day": datetime(2026, 1, 1)}}, "vars has a value that dbt"),
        ({"vars": {"text": "x" * 100_000}}, "and a command line takes 100,000: shorten vars or select"),
        ({"event_time_start": "2026-01-01"}, "event_time_end is missing: a range needs both ends"),
        ({"event_time_end": "2026-01-01"}, "event_time_start is missing: a range needs both ends"),
        ({**RANGE, "event_time_end": "2026-01-01"}, "event_time_start 2026-01-01 is not before event_time_end"),
        ({**RANGE, "event_time_end": "2025-12-31"}, "is not before event_time_end 2025-12-31: the end does not belong"),
        ({**RANGE, "event_time_start": "January"}, "'January' is no time: write a date such as 2026-01-31"),
        ({**RANGE, "event_time_start": "2026-02-30"}, "'2026-02-30' is no time"),
        ({**RANGE, "event_time_end": "9999-12-31"}, "'9999-12-31' is no time"),
        ({**RANGE, "event_time_start": "2026-01-01T00:00:00.5"}, "has a part of a second, which dbt does not take"),
        ({**RANGE, "command": "test"}, "An event-time range is for build or run, and command is test: leave it out"),
        ({**RANGE, "full_refresh": True}, "each piece would build the models from nothing, without the pieces before"),
        ({**RANGE, "event_time_start": "1900-01-01"}, "more than 1,000 pieces of a month: choose longer ones"),
        ({**RANGE, "pieces": "hour"}, "Input should be 'whole', 'day', 'week' or 'month'"),
        ({"pieces": "day"}, "pieces cuts an event-time range, and there is none: give event_time_start and event_t"),
        ({"result": "keep"}, "Input should be 'publish', 'keep aside' or 'discard'"),
        ({"continue_from": "elegant-fox"}, "'elegant-fox' is no id of a flow run, such as"),
        ({"continue_from": ID, "vars": {"a": 1}, "select": ["a"]}, "as they were: leave select, vars out, or start"),
        ({"continue_from": ID, "fail_fast": True}, "leave fail_fast out"),
        ({"retries": -1}, "Input should be greater than or equal to 0"),
        ({"retry_delay_seconds": 1e9}, "Input should be less than or equal to 86400"),
    ],
)
def test_what_cannot_be_run_is_refused_with_what_to_do(fields: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(**fields)


def test_all_that_does_not_fit_together_is_said_at_once() -> None:
    text = refusal(command="test", full_refresh=True, resource_types=["test"], **RANGE)

    assert all(each in text for each in ("full_refresh is for", "resource_types is for", "An event-time range is for"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ["build"]),
        ({"select": ["orders+", "tag:x"]}, ["build", "--select", "orders+", "tag:x"]),
        ({"select": ["a"], "exclude": ["b"]}, ["build", "--select", "a", "--exclude", "b"]),
        ({"command": "test", "selector": "smoke"}, ["test", "--selector", "smoke"]),
        ({"resource_types": ["model", "seed"]}, ["build", "--resource-type", "model", "seed"]),
        ({"command": "seed", "full_refresh": True}, ["seed", "--full-refresh"]),
        ({"command": "snapshot", "fail_fast": True}, ["snapshot", "--fail-fast"]),
        (
            {"select": ["a b", "{{ x }}", "'", 'q"', "$(id)", "ü,é"]},
            ["build", "--select", "a b", "{{ x }}", "'", 'q"', "$(id)", "ü,é"],
        ),
        ({"vars": {"a": {"b": [1, "{{ x }}", None]}}}, ["build", "--vars", '{"a": {"b": [1, "{{ x }}", null]}}']),
        ({"vars": {"日": 'it\'s "ü" 😀'}}, ["build", "--vars", '{"日": "it\'s \\"ü\\" 😀"}']),
        (
            {**RANGE, "pieces": "whole", "full_refresh": True},
            ["build", "--full-refresh", "--event-time-start", "2026-01-01", "--event-time-end", "2026-04-01"],
        ),
    ],
)
def test_a_request_is_one_list_of_words_that_no_shell_reads(fields: dict[str, Any], words: list[str]) -> None:
    assert RunRequest(**fields).commands() == [words]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(bool), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS.filter(bool), VALUES, max_size=4))
def test_dbt_which_reads_yaml_gets_the_vars_as_they_were_given(values: dict[str, Any]) -> None:
    given = arguments.parse(RunRequest(vars=values).commands()[0]).last("--vars")

    assert yaml.safe_load(given or "{}") == values


def test_ten_kilobytes_of_vars_are_one_word() -> None:
    values = {"ids": [f"{{{{ ü }}}} '\"$(x)` {number}" for number in range(500)]}

    [[*_, option, word]] = RunRequest(vars=values).commands()

    assert option == "--vars" and len(word.encode()) > 10_000
    assert json.loads(word) == values


@pytest.mark.slow
def test_dbts_own_command_line_takes_every_field_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path))
    # A second of imports.
    from dbt.cli.flags import args_to_context

    values = {"q": 'it\'s "{{ x }}" $(id) ü 😀', "long": "x" * 10_000}
    asked = RunRequest(
        select=["orders+", "tag:ü"], exclude=["'a'"], resource_types=["model"], full_refresh=True, vars=values,
        fail_fast=True, pieces="whole", event_time_start="2026-01-01T05:30:00+05:30", event_time_end="2026-01-02",
    )  # fmt: skip

    found = args_to_context(asked.commands()[0])

    given = {**(found.parent.params if found.parent else {}), **found.params}
    assert given["select"] == ("orders+", "tag:ü") and given["exclude"] == ("'a'",)
    assert given["vars"] == values
    assert given["resource_types" if "resource_types" in given else "resource_type"] == ("model",)
    assert (given["event_time_start"], given["event_time_end"]) == (datetime(2026, 1, 1), datetime(2026, 1, 2))
    assert found.params["full_refresh"] and found.params["fail_fast"]


@pytest.mark.slow
@pytest.mark.parametrize("command", get_args(request.Command))
def test_the_options_that_a_command_is_allowed_are_those_that_dbt_has_for_it(command: str) -> None:
    from dbt.cli.main import cli

    options = {option for parameter in cli.commands[command].params for option in parameter.opts}

    assert (command in request._WITH_FULL_REFRESH) == ("--full-refresh" in options)
    assert (command in request._WITH_EVENT_TIME) == ("--event-time-start" in options)
    assert {"--select", "--exclude", "--selector", "--vars", "--fail-fast"} <= options


# ---- pieces


def ranges(**fields: Any) -> list[tuple[str, str]]:
    found = [arguments.parse(words) for words in RunRequest(command="run", **fields).commands()]
    return [(each.last("--event-time-start") or "", each.last("--event-time-end") or "") for each in found]


@pytest.mark.parametrize(
    ("pieces", "start", "end", "expected"),
    [
        ("month", "2026-01-01", "2026-04-01", ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01"]),
        ("month", "2023-12-15", "2024-03-01", ["2023-12-15", "2024-01-01", "2024-02-01", "2024-03-01"]),
        ("month", "2026-01-31T12:00:00", "2026-02-02", ["2026-01-31T12:00:00", "2026-02-01", "2026-02-02"]),
        ("week", "2026-01-01", "2026-01-14", ["2026-01-01", "2026-01-05", "2026-01-12", "2026-01-14"]),
        (
            "day",
            "2026-02-28T23:00:00",
            "2026-03-01T01:00:00",
            ["2026-02-28T23:00:00", "2026-03-01", "2026-03-01T01:00:00"],
        ),
        # The day on which Berlin's clocks change has 23 hours, and is one piece of UTC's 24 and a rest.
        (
            "day",
            "2026-03-29T00:00:00+01:00",
            "2026-03-30T00:00:00+02:00",
            ["2026-03-28T23:00:00", "2026-03-29", "2026-03-29T22:00:00"],
        ),
        ("whole", "2020-01-01", "2026-01-01", ["2020-01-01", "2026-01-01"]),
        ("month", "2026-01-01 06:00", "2026-01-02", ["2026-01-01T06:00:00", "2026-01-02"]),
    ],
)
def test_a_range_is_cut_where_the_calendar_of_utc_begins_a_piece(
    pieces: str, start: str, end: str, expected: list[str]
) -> None:
    edges = ranges(pieces=pieces, event_time_start=start, event_time_end=end)

    assert edges == list(pairwise(expected))


@given(
    st.datetimes(datetime(1999, 1, 1), datetime(2030, 1, 1)),
    st.timedeltas(timedelta(seconds=1), timedelta(days=900)),
    st.sampled_from(get_args(request.Pieces)),
)
def test_pieces_have_every_moment_of_the_range_once(start: datetime, length: timedelta, pieces: str) -> None:
    start, length = start.replace(microsecond=0), timedelta(seconds=length // timedelta(seconds=1))

    found = ranges(pieces=pieces, event_time_start=start.isoformat(), event_time_end=(start + length).isoformat())

    times = [(datetime.fromisoformat(begin), datetime.fromisoformat(end)) for begin, end in found]
    assert times[0][0] == start and times[-1][1] == start + length
    assert all(end == begin for (_, end), (begin, _) in pairwise(times))
    assert all(begin < end for begin, end in times)
    if pieces == "month":
        assert all(
            (begin.year, begin.month) == ((end - timedelta(seconds=1)).year, (end - timedelta(seconds=1)).month)
            for begin, end in times
        )


# ---- the form


def test_each_field_of_the_form_has_a_title_a_description_and_an_example_that_it_takes() -> None:
    schema = parameter_schema(run).model_dump()
    form = schema["definitions"]["RunRequest"]

    assert list(schema["properties"]) == ["request"]
    assert form["additionalProperties"] is False
    for name, field in form["properties"].items():
        assert field["title"] and field["description"], name
        assert "anyOf" not in field, name
        rest = RANGE if name.startswith("event_time") or name == "pieces" else {}
        for example in field["examples"]:
            RunRequest(**{**rest, name: example})


def test_the_types_of_a_build_are_those_that_are_known_of_dbt() -> None:
    assert get_args(request.ResourceType) == arguments.KINDS["build"]
    assert set(get_args(request.Command)) == set(arguments.KINDS)


def test_a_form_that_sends_every_field_as_it_was_is_a_build_or_goes_on_with_a_run() -> None:
    untouched = RunRequest().model_dump()

    assert RunRequest(**untouched).commands() == [["build"]]
    assert RunRequest(**{**untouched, "continue_from": ID, "result": "discard", "retries": 0}).continue_from == ID
