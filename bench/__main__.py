"""Runs every measurement and writes bench/RESULTS.md: `make bench`."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import nodes, warehouse

RESULTS = Path(__file__).parent / "RESULTS.md"
PAGE = """# Results
Written by `make bench` on {date}, at {commit}. {cores} cores, {machine}, Python {python}, {versions}.
Each figure is a median with the smallest and the largest of {rounds} rounds; in each round what is compared runs one
after the other, and a ratio is the median of the rounds' ratios. To repeat: `make bench`.

## Seeing every node
The time of the flow's dbt command, with its task runs, log lines and progress in Prefect, beside a plain `dbt build`
of the same project. The whole flow process has Prefect's own start and end in it.

{nodes}

## Keeping the last good build
A writing run begins with a copy of the published file and ends with a rename of its own. `cp` copies the same file on
the same disk.

{warehouse}
"""


def main() -> None:
    """Measure, then write the page."""
    packages = ("prefect", "dbt-core", "dbt-duckdb", "duckdb")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    RESULTS.write_text(
        PAGE.format(
            date=f"{datetime.now(UTC):%Y-%m-%d}",
            commit=commit.strip(),
            cores=os.cpu_count(),
            machine=platform.machine(),
            python=platform.python_version(),
            versions=", ".join(f"{name} {version(name)}" for name in packages),
            rounds=nodes.ROUNDS,
            nodes=nodes.table(),
            warehouse=warehouse.table(),
        )
    )
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
