"""Commands, files, variables and states that the pages name are there."""

import inspect
import re
import subprocess

import click
import prefect.states

import dbtpod
import pages
from dbtpod import cli
from pages import ROOT
from rendering import CHART

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in pages.paths()}
SOURCES = [path.read_text() for path in sorted((ROOT / "src").rglob("*.py"))]
MAKEFILE = (ROOT / "Makefile").read_text()
VALUES = (CHART / "values.yaml").read_text()


def test_a_make_target_and_a_variable_that_are_named_are_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z][\w.-]*):", MAKEFILE, re.MULTILINE))
    elsewhere = [("values.yaml", VALUES), ("notes", (CHART / "templates" / "NOTES.txt").read_text())]
    texts = [*pages.quoted(), *elsewhere, *((where, text) for where, text in pages.literals() if "`make" in text)]

    found = {each for _, text in texts for each in re.findall(r"(?:^|`)make ([a-z][\w.-]*)", text, re.MULTILINE)}
    variables = {each for _, text in texts for each in re.findall(r"make \w+ ([A-Z_]+)=", text)}

    assert {"run", "check", "test", "soak", "bench", "trace", "image", "up", "down"} <= found <= targets
    assert variables and all(re.search(rf"\$\(({each})\)", MAKEFILE) for each in variables)


def test_the_readme_lists_every_target_that_make_itself_lists_for_working_on_it() -> None:
    [block] = [block for block in pages.blocks() if block.text.startswith("make check")]

    for target in re.findall(r"^make ?(\w*) +#", block.text, re.MULTILINE):
        done = subprocess.run(
            ["make", "--dry-run", *([target] if target else [])], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


_DBTPOD = re.compile(r"(?:^(?:\$ )?|-- |\.venv/bin/)dbtpod ([a-z]+)((?: [a-zA-Z0-9-]+)*)", re.MULTILINE)


def wrong(command: str, rest: str) -> str:
    """What click finds wrong with such a command, were it typed; empty for none."""
    words = [command, *("1" if word == "N" else word for word in rest.split())]
    context = click.Context(cli.dbtpod)
    group: click.Group = cli.dbtpod
    while words:
        found = group.get_command(context, words[0])
        if found is None:
            return f"no command {words[0]}"
        words = words[1:]
        if not isinstance(found, click.Group):
            break
        group = found
    try:
        found.make_context("dbtpod", words, resilient_parsing=False)
    except click.UsageError as error:
        return error.format_message()
    return ""


def test_a_command_of_ours_that_is_named_can_be_typed() -> None:
    named = [(where, each) for where, text in pages.quoted() for each in _DBTPOD.findall(text)]
    in_messages = re.compile(r"dbtpod (generations) ([a-z]+)")
    named += [(where, each) for where, text in pages.literals() for each in in_messages.findall(text)]

    assert len(named) > 8
    # A message has the number's place after it.
    assert [(where, each) for where, each in named if wrong(*each) not in ("", "Missing argument 'NUMBER'.")] == []


def test_a_command_that_is_misspelt_is_found() -> None:
    assert wrong("generations", "rolback 1") == "no command rolback"
    assert "No such option" in wrong("generations", "list --al")


def is_there(name: str) -> bool:
    """Whether it is a file of the repository, by its end, or one that the code names."""
    of_repository = any(f"/{path}".endswith(f"/{name}") or f"/{name}" in f"/{path}" for path in pages.tracked())
    return of_repository or any(f'{name}"' in source for source in SOURCES)


# Files of dbt's and of a user's.
OTHERS = {"profiles.yml", "packages.yml", "dbt_project.yml", "partial_parse.msgpack", "manifest.json"}


def test_a_file_that_is_named_is_there() -> None:
    path = re.compile(r"(?:[\w.-]+/)*[\w-]+\.(?:py|yaml|yml|md|toml|lock|json|png)|(?:[a-z][\w.-]*/)+[\w.-]*")
    found = {(page, span) for page, text in PAGES.items() for span in pages.spans(text) if path.fullmatch(span)}
    # Those on the volume are compared with one by tests of their own.
    on_the_volume = re.compile(r"(data/)?(published|work|runs|set-aside)\b.*")

    assert len(found) > 40
    assert {
        (page, span)
        for page, span in found
        if span not in OTHERS and not on_the_volume.fullmatch(span) and not is_there(span)
    } == set()


def test_an_environment_variable_that_is_named_is_read_somewhere() -> None:
    variable = re.compile(r"\b(?:DBTPOD|DBT|DUCKDB|PREFECT)_[A-Z_]+[A-Z]\b")
    read = "\n".join([*SOURCES, MAKEFILE, (ROOT / "prefect.yaml").read_text()])
    read += "\n".join(path.read_text() for path in [*CHART.rglob("*.yaml"), *CHART.rglob("*.tpl")])

    found = {each for text in [*PAGES.values(), VALUES] for each in variable.findall(text)}

    assert len(found) > 4
    # dbt's own prefix for secrets, whose names a user chooses.
    assert {each for each in found if not each.startswith("DBT_ENV_SECRET") and each not in read} == set()


# Products, kinds and words of others that are written in one, as states and errors are.
FOREIGN = {
    *("DuckDB", "PostgreSQL", "MetricFlow", "OpenShift", "SQLAlchemy", "SQLite", "DuckLake", "GitHub", "ConfigMap"),
    *("CronJob", "CronJobs", "ConfigMaps", "NetworkPolicy"),
}


def test_a_state_or_an_error_that_is_named_is_one() -> None:
    states = {name for name, _ in inspect.getmembers(prefect.states, inspect.isfunction)}
    states |= {"TimedOut"}
    for page in ("README.md", "docs/failures.md", "docs/warehouse.md", "docs/architecture.md"):
        text = re.sub(r"```.*?```|`[^`]*`", "", PAGES[page], flags=re.DOTALL)

        found = set(re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]*)+\b", text))

        assert found - FOREIGN - states - set(dbtpod.__all__) == set(), page
