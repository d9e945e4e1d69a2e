"""What docs and column lineage of a generation cost: the process that makes each, beside dbt's own docs command."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import measure, project
from bench.measure import Cost, spread
from dbtpod.dbt import process
from dbtpod.docs import make
from dbtpod.docs.making import BOUNDS

MODELS = 1000
ROUNDS = 5
HEADER = "| | wall, s | user CPU, s | peak memory, MiB | file, MB |\n|---|---|---|---|---|"


def table(models: int = MODELS, rounds: int = ROUNDS) -> Iterator[str]:
    """Measure a project of that many models, built by dbt; yield the lines of a markdown table as they come."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DBT")}
        environment |= {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_PROFILES_DIR": str(folder / "project")}
        environment |= {"DBT_PROJECT_DIR": str(folder / "project"), "DBT_TARGET_PATH": str(folder / "target")}
        project.write(folder / "project", models)
        # dbt's own paths are relative to where it runs.
        os.chdir(folder)
        dbt = process.executable()
        measure.command([dbt, "run"], environment, folder / "log")
        published = folder / "published" / "000001"
        published.mkdir(parents=True)
        shutil.copy(folder / "warehouse.duckdb", published)
        shutil.copy(folder / "target" / "manifest.json", published)
        ours = [sys.executable, "-P", "-m", make.__name__]
        yield HEADER
        for kind, title in {make.DOCS: "docs", make.LINEAGE: "column lineage"}.items():
            bounds = (str(BOUNDS.memory), str(BOUNDS.size))
            made = folder / kind
            command = [*ours, kind, str(published / "warehouse.duckdb"), str(made), *bounds]
            yield _line(title, command, environment, made, rounds)
        theirs = [dbt, "docs", "generate", "--static"]
        yield _line(
            "`dbt docs generate --static`", theirs, environment, folder / "target" / "static_index.html", rounds
        )


def _line(title: str, command: Sequence[str], environment: Mapping[str, str], made: Path, rounds: int) -> str:
    costs: list[Cost] = [measure.command(command, environment, made.with_suffix(".log")) for _ in range(rounds)]
    cells = [spread([getattr(cost, what) for cost in costs]) for what in ("wall", "user", "memory")]
    return f"| {title} | {' | '.join(cells)} | {made.stat().st_size / 1e6:.1f} |"
