"""The checks of a repository, and what is printed of them. dbt takes the longest, and runs beside all others."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dbtpod import settings
from dbtpod.check import project, python_flows, selection, values
from dbtpod.check.finding import PREFECT_YAML, Finding
from dbtpod.check.selection import Use
from dbtpod.dbt import inspection, kinds
from dbtpod.dbt.inspection import Answers
from dbtpod.registration import commands, draft
from dbtpod.registration.draft import Draft
from dbtpod.registration.yaml_file import Diagnostic


def run(folder: Path, *, strict: bool) -> tuple[list[str], int]:
    """Check a repository: what to print, and the exit code; `strict` has warnings fail too."""
    return report(*check(folder.absolute()), strict=strict)


def report(found: Sequence[Finding], looked_at: str, *, strict: bool) -> tuple[list[str], int]:
    """Give what to print of these findings, and the exit code."""
    warnings = sum(finding.is_warning for finding in found)
    problems = len(found) - warnings
    lines = [line for finding in found for line in finding.lines()]
    counts = [_count(problems, "problem"), *([_count(warnings, "warning")] if warnings else [])]
    return [*lines, f"{', '.join(counts)} in {looked_at}"], int(problems > 0 or (strict and warnings > 0))


def check(folder: Path) -> tuple[list[Finding], str]:
    """Find everything that is wrong, in the order of files and lines; and say what there was to look at."""
    environment = settings.environment()
    environment |= kinds.of_values(folder, environment)
    written = draft.read(folder / PREFECT_YAML, environment)
    in_python = list(python_flows.read(_entrypoints(written), folder))
    uses = [*_in_yaml(written), *(each for each in in_python if isinstance(each, Use))]
    words = [use.words for use in uses]
    found = [each for each in in_python if isinstance(each, Finding)]
    parsed, wrong = project.prepare(folder, environment)
    found += wrong
    asking = inspection.of_project(parsed, words) if parsed else inspection.of_commands(words, folder, environment)
    with asking as asked:
        found += values.findings(folder)
        # It imports Prefect, which takes a second.
        from dbtpod.check import prefect_yaml

        answers = asked.wait()
    if parsed:
        found += project.findings(answers.parses[()], parsed.folder, folder)
    found += prefect_yaml.findings(written, answers.refusals, folder)
    found += [*_of_python(uses, answers), *selection.findings(uses, answers)]
    return sorted(found, key=_order), _looked_at(written, uses, answers)


def _entrypoints(written: Draft | Diagnostic) -> Iterator[str]:
    for entry in written.deployments if isinstance(written, Draft) else ():
        if isinstance(entry, dict) and isinstance(entry.get("entrypoint"), str):
            yield entry["entrypoint"]


def _in_yaml(written: Draft | Diagnostic) -> Iterator[Use]:
    if isinstance(written, Draft):
        for command in written.commands:
            line = written.file.line
            named = {name: line(place) for name, place in (command.names or {}).items()}
            subject = f"{written.subject(command.place)} is"
            yield Use(command.words, PREFECT_YAML, line(command.place), subject, named, command.names is not None)


def _of_python(uses: list[Use], answers: Answers) -> Iterator[Finding]:
    for use in uses:
        if use.file != PREFECT_YAML and (reason := answers.refusals.get(use.words) or commands.out_of_place(use.words)):
            yield use.finding(reason)


def _looked_at(written: Draft | Diagnostic, uses: list[Use], answers: Answers) -> str:
    entries = written.deployments if isinstance(written, Draft) else []
    nodes = answers.parses[()].names.get("nodes", ()) if answers.parses else ()
    return f"{_count(len(entries), 'deployment')}, {_count(len(uses), 'command')}, {_count(len(nodes), 'dbt node')}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _order(finding: Finding) -> tuple[str, int, str]:
    return str(finding.file or ""), finding.line or 0, finding.text
