"""prefect.yaml as registration will read it, with the pool and the job template that this version of the chart has."""

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from dbtpod.check import values
from dbtpod.check.finding import PREFECT_YAML, Finding
from dbtpod.dbt import arguments
from dbtpod.registration import commands, deployments
from dbtpod.registration.draft import Draft
from dbtpod.registration.entrypoints import READY
from dbtpod.registration.variant import Variant
from dbtpod.registration.yaml_file import Diagnostic


def findings(written: Draft | Diagnostic, refusals: Mapping[tuple[str, ...], str], folder: Path) -> Iterator[Finding]:
    """Yield what registration would refuse, and what it would only do badly."""
    if not (folder / PREFECT_YAML).exists():
        yield Finding(PREFECT_YAML, None, "there is none; `dbtpod init` writes one")
    elif isinstance(written, Diagnostic):
        yield Finding(PREFECT_YAML, written.line, written.text)
    else:
        template = json.loads(files("dbtpod.check").joinpath("job_template.json").read_text())
        checked = deployments.check(*Variant(values.pool(folder)).apply(written), refusals, template)
        yield from (Finding(PREFECT_YAML, each.line, each.text) for each in checked if isinstance(each, Diagnostic))
        yield from _writers_among_readers(written)


def _writers_among_readers(written: Draft) -> Iterator[Finding]:
    for index, entry in enumerate(written.deployments):
        pool = entry.get("work_pool") if isinstance(entry, dict) and entry.get("entrypoint") == READY else None
        if isinstance(pool, dict) and pool.get("work_queue_name") == "duckdb-reader":
            of_this = [command.words for command in written.commands if command.place[1] == index]
            writing = [words for words in of_this if arguments.parse(words).verb not in arguments.READING]
            if writing:
                place = ("deployments", index, "work_pool", "work_queue_name")
                text = f"is 'duckdb-reader', but {commands.shown(writing[0])!r} writes: two such runs would start "
                text += "together, and one wait in its pod; write duckdb-writer"
                yield Finding(
                    PREFECT_YAML, written.file.line(place), f"{written.subject(place)} {text}", is_warning=True
                )
