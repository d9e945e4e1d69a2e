"""The checks of a repository, and what is printed of them. dbt takes the longest, and runs beside all others."""

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from dbtpod import settings
from dbtpod.check import project, python_flows, selection, values
from dbtpod.check.finding import Finding
from dbtpod.check.selection import Use
from dbtpod.dbt import arguments, inspection
from dbtpod.dbt.inspection import Answers
from dbtpod.registration import commands, draft
from dbtpod.registration.draft import Draft
from dbtpod.registration.entrypoints import READY
from dbtpod.registration.yaml_file import Mistake

_PREFECT_YAML = Path("prefect.yaml")


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
    written = draft.read(folder / _PREFECT_YAML, environment)
    in_python = list(python_flows.read(_entrypoints(written), folder))
    uses = [*_in_yaml(written), *(each for each in in_python if isinstance(each, Use))]
    words = [use.words for use in uses]
    place = project.find(folder, environment.get("DBT_PROJECT_DIR"))
    asking = (
        inspection.of_commands(words, folder)
        if isinstance(place, Finding)
        else inspection.of_project(project.project(place, environment), words)
    )
    with asking as asked:
        found = [*values.findings(folder), *(each for each in in_python if isinstance(each, Finding))]
        found += [place] if isinstance(place, Finding) else project.profile_findings(place)
        # Prefect's import takes a second.
        from dbtpod.registration import deployments  # noqa: F401

        answers = asked.wait()
    if not isinstance(place, Finding):
        found += project.findings(answers.parses[()], place, folder)
    found += [*_of_yaml(written, answers, folder), *_of_python(uses, answers), *selection.findings(uses, answers)]
    return sorted(found, key=_order), _looked_at(written, uses, answers)


def _entrypoints(written: Draft | Mistake) -> Iterator[str]:
    for entry in written.deployments if isinstance(written, Draft) else ():
        if isinstance(entry, dict) and isinstance(entry.get("entrypoint"), str):
            yield entry["entrypoint"]


def _in_yaml(written: Draft | Mistake) -> Iterator[Use]:
    if isinstance(written, Draft):
        for command in written.commands:
            line = written.file.line(command.place)
            yield Use(command.words, _PREFECT_YAML, line, f"{written.subject(command.place)} is")


def _of_yaml(written: Draft | Mistake, answers: Answers, folder: Path) -> Iterator[Finding]:
    from dbtpod.registration import deployments

    if not (folder / _PREFECT_YAML).exists():
        yield Finding(_PREFECT_YAML, None, "there is none; `dbtpod init` writes one")
    elif isinstance(written, Mistake):
        yield Finding(_PREFECT_YAML, written.line, written.text)
    else:
        template = json.loads(files("dbtpod.check").joinpath("job_template.json").read_text())
        pool = values.pool(folder) or deployments.first_pool(written)
        checked = deployments.check(written, pool, answers.refusals, template)
        yield from (Finding(_PREFECT_YAML, each.line, each.text) for each in checked if isinstance(each, Mistake))
        yield from _writers_among_readers(written)


def _writers_among_readers(written: Draft) -> Iterator[Finding]:
    for index, entry in enumerate(written.deployments):
        pool = entry.get("work_pool") if isinstance(entry, dict) and entry.get("entrypoint") == READY else None
        if isinstance(pool, dict) and pool.get("work_queue_name") == "duckdb-reader":
            of_this = [command for command in written.commands if command.place[1] == index]
            writing = [each for each in of_this if arguments.parse(each.words).verb not in arguments.READING]
            if writing:
                place = ("deployments", index, "work_pool", "work_queue_name")
                yield Finding(
                    _PREFECT_YAML,
                    written.file.line(place),
                    f"{written.subject(place)} is 'duckdb-reader', but {commands.shown(writing[0].words)!r} writes: "
                    "two such runs would start together, and one wait in its pod; write duckdb-writer",
                    is_warning=True,
                )


def _of_python(uses: list[Use], answers: Answers) -> Iterator[Finding]:
    for use in uses:
        if use.file != _PREFECT_YAML and (
            reason := answers.refusals.get(use.words) or commands.out_of_place(use.words)
        ):
            yield use.finding(reason)


def _looked_at(written: Draft | Mistake, uses: list[Use], answers: Answers) -> str:
    entries = written.deployments if isinstance(written, Draft) else []
    nodes = answers.parses[()].names.get("nodes", ()) if answers.parses else ()
    return f"{_count(len(entries), 'deployment')}, {_count(len(uses), 'command')}, {_count(len(nodes), 'dbt node')}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _order(finding: Finding) -> tuple[str, int, str]:
    return str(finding.file or ""), finding.line or 0, finding.text
