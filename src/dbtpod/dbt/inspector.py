"""A process that imports dbt and asks it about commands and a project: what it would refuse, and what it would select.

Run by path, so that dbt, which reads a .env file and sets up its logging when it is imported, does so in no process of
ours. The questions come on standard input and the answers go to standard output, as JSON; nothing is run, no database
is opened. `inspection` is the other end.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Collection
from typing import Any

import click
from dbt.cli.exceptions import DbtUsageException
from dbt.cli.flags import Flags, args_to_context
from dbt.cli.main import cli, dbtRunner

from dbtpod.dbt import names

# dbt prints its help or its version, and ends well.
_PRINTS = {"-h", "--help", "-v", "-V", "--version"}


def answer(questions: dict[str, Any]) -> dict[str, Any]:
    """Answer what `inspection` asks."""
    commands = questions["commands"]
    checked = {str(index): _refusal(words) for index, words in enumerate(commands)}
    refusals = {index: reason for index, reason in checked.items() if reason}
    return {"refusals": refusals, "parses": [_parse(refusals=refusals, **each) for each in questions["parses"]]}


def _refusal(words: list[str]) -> str | None:
    """Say why dbt's command line does not take these words; None where it does."""
    if printing := next((word for word in words if word in _PRINTS), None):
        return f"{printing} prints a text and builds nothing; leave it out"
    try:
        Flags(args_to_context(list(words)))
    except (IndexError, click.exceptions.NoArgsIsHelpError):
        return _too_short(words)
    except click.UsageError as error:
        return _said(error) + _advice(error)
    except DbtUsageException as error:
        return str(error)
    except Exception:  # of the project, which is parsed apart
        return None
    return None


def _too_short(words: list[str]) -> str:
    """Say what is missing: a command at all, or what `source` is nothing without."""
    groups = [cli.commands[word] for word in words if isinstance(cli.commands.get(word), click.Group)]
    seconds = [name for group in groups for name in group.commands]  # type: ignore[attr-defined]
    return f"it needs a second word: {' or '.join(seconds)}" if seconds else "it has no command, such as build"


def _said(error: click.UsageError) -> str:
    return " ".join(error.format_message().split())


def _advice(error: click.UsageError) -> str:
    before_verb = isinstance(error, click.NoSuchOption) and error.ctx is not None and error.ctx.command is cli
    return " Write it after the command, such as build." if before_verb else ""


class _Heard:
    """What dbt says while it does one thing."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.unmatched: list[str] = []

    def __call__(self, event: Any) -> None:
        """Be one of dbt's callbacks."""
        if event.info.name == "NoNodesForSelectionCriteria":
            self.unmatched.append(event.data.spec_raw)
        elif event.info.level == "error":
            self.errors.append(event.info.msg)
        elif event.info.level == "warn":
            self.warnings.append(event.info.msg)


def _parse(options: list[str], lookups: dict[str, list[str]], refusals: Collection[str]) -> dict[str, Any]:
    """Parse the project with these options, and do the lookups in what was parsed."""
    heard = _Heard()
    # What dbt kept of the last time would hide the warnings that it had then.
    done = dbtRunner(callbacks=[heard]).invoke(["--no-partial-parse", "--no-write-json", "parse", *options])
    errors = [str(done.exception)] if done.exception else [] if done.success else heard.errors
    manifest: Any = done.result
    found: dict[str, Any] = {"errors": errors, "warnings": heard.warnings, "names": {}, "lookups": {}}
    if not errors:
        found["names"] = names.of(manifest.writable_manifest().to_dict())
        wanted = {index: words for index, words in lookups.items() if index not in refusals}
        found["lookups"] = {index: _lookup(manifest, words) for index, words in wanted.items()}
    return found


def _lookup(manifest: Any, words: list[str]) -> dict[str, Any]:
    heard = _Heard()
    done = dbtRunner(manifest=manifest, callbacks=[heard]).invoke(words)
    errors = [str(done.exception)] if done.exception else [] if done.success else heard.errors
    return {"listed": done.result if done.success else [], "unmatched": heard.unmatched, "errors": errors}


def main() -> None:
    """Answer once."""
    questions = json.load(sys.stdin)
    to_us = os.dup(1)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    with contextlib.redirect_stdout(io.StringIO()):
        answers = answer(questions)
    with open(to_us, "w") as file:  # noqa: PTH123
        json.dump(answers, file)


if __name__ == "__main__":
    main()
