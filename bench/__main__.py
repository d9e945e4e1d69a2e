"""Runs every measurement and writes bench/RESULTS.md line by line: `make bench`."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import nodes, warehouse

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Results
Written by `make bench` on {date}, at {commit}: {cores} cores, {machine}, Python {python}, {versions}; load {load} when
it began. Each figure is a median with the smallest and the largest of {rounds} rounds; in each round what is compared
runs one after the other, and a ratio is the median of the rounds' ratios.
"""
SECTIONS = (
    (
        """
## Seeing every node
The time of the flow's dbt command, with its task runs, log lines and progress in Prefect, beside a plain `dbt build`
of the same project. The whole flow process has Prefect's own start and end in it.
""",
        nodes.cost,
    ),
    ("\n## When Prefect's API is slow or gone\n", nodes.trouble),
    (
        """
## Keeping the last good build
A writing run begins with a copy of the published file and ends with a rename of its own.
""",
        warehouse.table,
    ),
)


def main() -> None:
    """Measure, and write the page as far as it is."""
    with RESULTS.open("w", buffering=1) as page:
        page.write(_head())
        for text, lines in SECTIONS:
            page.write(f"{text}\n")
            for line in lines():
                page.write(f"{line}\n")


def _head() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    return HEAD.format(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=commit.strip(),
        cores=os.cpu_count(),
        machine=platform.machine(),
        python=platform.python_version(),
        versions=", ".join(f"{name} {version(name)}" for name in ("prefect", "dbt-core", "dbt-duckdb", "duckdb")),
        load=f"{os.getloadavg()[0]:.1f}",
        rounds=nodes.ROUNDS,
    )


if __name__ == "__main__":
    main()
