"""What the recordings and our tables of dbt's options say is what the installed dbt says."""

from pathlib import Path

import click

import record
from dbtpod.dbt import arguments, stream
from dbtpod.dbt.events import NodeFinished, NodeStarted
from recordings import RUNS, parsed


def test_the_installed_dbt_says_what_was_recorded(tmp_path: Path) -> None:
    lines, exit_code = record.run(record.SCENARIOS["failed_test"], tmp_path)

    now = list(stream.read(lines))

    ended = {event.name: event.status for event in now if isinstance(event, NodeFinished)}
    assert (exit_code, ended) == RUNS["failed_test"]
    assert [event.name for event in now if isinstance(event, NodeStarted)] == [
        event.name for event in parsed("failed_test") if isinstance(event, NodeStarted)
    ]


def test_the_table_of_options_is_that_of_the_installed_dbt() -> None:
    from dbt.cli.main import cli

    advice = "dbt has other options than dbtpod/dbt/arguments.py knows: bring its tables up to date."
    single, multiple, flags, of_ls = set(), set(), set(), set()
    for verb in (*arguments.KINDS, "list"):
        for option in cli.commands[verb].params:
            assert isinstance(option, click.Option)
            names = {arguments._ALIASES.get(name, name) for name in (*option.opts, *option.secondary_opts)}
            if verb == "list":
                of_ls |= names
            (flags if option.is_flag else multiple if option.multiple else single).update(names)

    assert multiple == arguments.MULTIPLE, advice
    # That of run-operation, which is never resumed.
    assert single == arguments.SINGLE - {"--args"}, advice
    assert not [name for name in flags if len(name) == 2 and name not in ("-v", "-V")], advice
    assert single | multiple | flags == of_ls | arguments.NOT_OF_LS - {"--args"}, advice


def test_the_resource_types_of_a_verb_are_those_of_the_installed_dbt() -> None:
    from dbt.task.build import BuildTask

    assert {str(kind) for kind in BuildTask.RUNNER_MAP} == set(arguments.KINDS["build"])
