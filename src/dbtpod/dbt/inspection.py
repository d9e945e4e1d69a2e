"""What dbt itself says of commands and of a project, without running them: the way to the process of `inspector`.

inspection.refusals([("build", "--selecter", "x")], folder, environment)   # {(…): "No such option '--selecter'. …"}

with inspection.of_project(project, commands) as asked:
    ...                                                        # dbt takes seconds
    answers = asked.wait()
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbtpod.dbt import arguments, process
from dbtpod.dbt.project import Project
from dbtpod.errors import DbtUnusable

Words = tuple[str, ...]
# Not imported here: it imports dbt.
_INSPECTOR = Path(__file__).with_name("inspector.py")


@dataclass(frozen=True)
class Parse:
    """The project as dbt parses it with some options, such as --vars; without names where it cannot."""

    options: Words
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    # "nodes", "sources", "fresh" (sources with freshness), "tags", "selectors", "macros".
    names: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Lookup:
    """What a command selects: what `dbt ls` lists, and the criteria that match nothing."""

    listed: tuple[str, ...]
    unmatched: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """What dbt said."""

    # Why dbt's command line does not take a command; only of those that it does not take.
    refusals: Mapping[Words, str]
    # The parse of each command; of `()`, that of the project as it is.
    parses: Mapping[Words, Parse]
    # Not of those that are refused, that select nothing by nature, or whose project cannot be parsed.
    lookups: Mapping[Words, Lookup]


class Asked:
    """The process that is asked; none, where there is nothing to ask."""

    def __init__(self, running: subprocess.Popen[str] | None, commands: list[Words], parses: list[Words]) -> None:
        self._running = running
        self._commands = commands
        self._parses = parses

    def wait(self) -> Answers:
        """Wait for the answers; DbtUnusable where dbt cannot even be imported."""
        if self._running is None:
            return Answers({}, {}, {})
        output, errors = self._running.communicate()
        if self._running.returncode:
            raise DbtUnusable(f"dbt could not be asked about the project:\n{errors[-2000:]}")
        return self._answers(json.loads(output))

    def _answers(self, said: dict[str, Any]) -> Answers:
        parses = [
            Parse(options, tuple(each["errors"]), tuple(each["warnings"]), _tuples(each["names"]))
            for options, each in zip(self._parses, said["parses"], strict=True)
        ]
        by_options = {parse.options: parse for parse in parses}
        lookups = {index: found for each in said["parses"] for index, found in each["lookups"].items()}
        return Answers(
            {self._commands[int(index)]: reason for index, reason in said["refusals"].items()},
            {words: by_options[_options(words)] for words in ((), *self._commands) if _options(words) in by_options},
            {self._commands[int(index)]: Lookup(**_tuples(found)) for index, found in lookups.items()},
        )


def refusals(commands: Iterable[Words], folder: Path, environment: Mapping[str, str]) -> Mapping[Words, str]:
    """Return the commands that dbt's command line does not take, and why."""
    with of_commands(commands, folder, environment) as asked:
        return asked.wait().refusals


@contextmanager
def of_commands(commands: Iterable[Words], folder: Path, environment: Mapping[str, str]) -> Iterator[Asked]:
    """Ask dbt about commands alone, which are to run in the folder."""
    own = {name: value for name, value in environment.items() if not name.startswith(("PREFECT_", "PYTHONPATH"))}
    # Where none is given dbt's own is ~/.dbt, and dbt takes no command where that folder is missing.
    if arguments.variable(own, "PROFILES_DIR") is None:
        own["DBT_PROFILES_DIR"] = str(folder)
    with _asked(list(dict.fromkeys(commands)), [], own, folder) as asked:
        yield asked


@contextmanager
def of_project(project: Project, commands: Iterable[Words]) -> Iterator[Asked]:
    """Ask what dbt says of a project, and of commands that are to run in it."""
    given = list(dict.fromkeys(commands))
    parses = list(dict.fromkeys([(), *map(_options, given)]))
    with tempfile.TemporaryDirectory() as folder:
        environment = process.environment(project, Path(folder))
        with _asked(given, parses, environment, project.folder) as asked:
            yield asked


@contextmanager
def _asked(commands: list[Words], parses: list[Words], environment: Mapping[str, str], folder: Path) -> Iterator[Asked]:
    if not commands and not parses:
        yield Asked(None, [], [])
        return
    asked = {"commands": commands, "parses": [_question(parse, commands, environment) for parse in parses]}
    with tempfile.TemporaryFile("w+") as questions:
        json.dump(asked, questions)
        questions.seek(0)
        running = subprocess.Popen(
            [sys.executable, "-P", str(_INSPECTOR)],
            cwd=folder,
            env=dict(environment),
            stdin=questions,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
    try:
        yield Asked(running, commands, parses)
    finally:
        running.kill()
        running.wait()


def _question(parse: Words, commands: list[Words], environment: Mapping[str, str]) -> dict[str, Any]:
    of_this = [(index, words) for index, words in enumerate(commands) if _options(words) == parse]
    lookups = {index: arguments.lookup(words, environment) for index, words in of_this}
    return {"options": parse, "lookups": {index: words for index, words in lookups.items() if words}}


def _options(words: Words) -> Words:
    """Return what of a command decides how the project is parsed."""
    return tuple(arguments.parse(words).only(arguments.PARSING).written())


def _tuples(lists: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(each) for name, each in lists.items()}
