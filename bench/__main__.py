"""Runs every measurement and writes bench/RESULTS.md line by line: `make bench`, or `make bench ONLY="nodes"`.

A section that is not measured again stays as it was, with the day and the commit that it was measured at.
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import docs, fixing, growth, image, laptop, large, nodes, scale, starts, warehouse

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = """# Results
What `make bench` measured, as medians with the smallest and the largest of {rounds} rounds. In each round what is
compared runs one after the other, and a ratio is the median of the rounds' ratios. `make bench ONLY="nodes"` measures
one section again.
"""
MEASURED = "Measured on {date} at {commit}: {cores} cores, {machine}, Python {python}, {versions}; load before: {load}."


@dataclass(frozen=True)
class Section:
    """One heading of the page, and what measures the lines below it."""

    title: str
    text: str
    lines: Callable[[], Iterator[str]]


SECTIONS = {
    "starts": Section(
        "Start-up",
        "On a kind cluster of its own, the project of this repository, 55 nodes. The bare Job and CronJob run\n"
        "`dbt build` in the same image with the same resources, from the same baked parse state. The memory of a\n"
        "process is its Pss.",
        starts.table,
    ),
    "parts": Section(
        "Each part of the fast start",
        "On a kind cluster of its own, the same project: a build with all parts, and without each of them. What each\n"
        "part is, src/dbtpod/faststart/README.md says.",
        starts.parts_table,
    ),
    "nodes": Section(
        "Seeing every node",
        "The time of the flow's dbt command, with its task runs, log lines and progress in Prefect, beside a plain\n"
        "`dbt build` of the same project. The whole flow process has Prefect's own start and end in it.",
        nodes.cost,
    ),
    "fixing": Section(
        "Continuing after a fix",
        "A build of 200 models fails at the 150th, which is then fixed: a run that continues it, beside a run that\n"
        "builds the same nodes alone on what is published. Whole flow processes, without a cluster.",
        fixing.table,
    ),
    "laptop": Section(
        "A build on a laptop",
        "`dbtpod run` of this repository's project, 55 nodes, with no cluster and no server beside it: user CPU of\n"
        "all its processes. Each keeps between its runs what it keeps for a user, dbt's parse state among it.",
        laptop.table,
    ),
    "trouble": Section(
        "When Prefect's API is slow or gone",
        "The flow's dbt command, with a server that answers late from dbt's start on, and with one that is killed.\n"
        "dbt does not wait; at its end the flow waits for its report and its last task runs, 20 s at most.",
        nodes.trouble,
    ),
    "warehouse": Section(
        "Keeping the last good build",
        "A writing run begins with a copy of the published file and ends with a rename of its own. `cp` leaves its\n"
        "bytes in the page cache; a check-out also removes the copy before it, and syncs whose the new one is.",
        warehouse.table,
    ),
    "growth": Section(
        "Where the data is",
        "On a kind cluster of its own, one kind after the other, each with its servers alone: a project like TPC-H,\n"
        "whose largest table has so many rows, built whole and tested. A build is from the request to the run's end;\n"
        "CPU is that of the whole cluster in that time, with Prefect's server, the databases and Kubernetes itself.\n"
        "Stored is the DuckDB file, or all that is in the bucket then: a DuckLake has the build before there, of the\n"
        "other size here, until the next one begins.",
        growth.table,
    ),
    "docs": Section(
        "Docs and column lineage",
        "1,000 models, of one generation: each is made by a process of its own, of the lowest priority, after the\n"
        "generation was published. dbt's own command also parses and compiles the project.",
        docs.table,
    ),
    "queue": Section(
        "A long queue",
        "On a kind cluster of its own: real flow runs behind the one writer, whose pods only report that they run\n"
        "and that they are done.",
        scale.queue,
    ),
    "deployments": Section(
        "Many deployments",
        "On a kind cluster of its own, registered as the chart's hook does; all of one flow, and none due meanwhile.",
        scale.deployments,
    ),
    "image": Section(
        "An edit of the project",
        "One line at the end of one model of this repository's project, built with everything else in Docker's cache.\n"
        "A node pulls the layers that the image before the edit does not have, gzip-compressed.",
        image.table,
    ),
    "large": Section(
        "One model of a large project",
        "On a kind cluster of its own: a flow run's pod beside a bare Job of `dbt build --select` in the same\n"
        "image with the same resources, from the same baked parse state, each on a volume of its own.",
        large.table,
    ),
}


def main(names: list[str]) -> None:
    """Measure those sections, or all, and write each as far as it is; one that fails stays as it was."""
    if unknown := set(names) - set(SECTIONS):
        sys.exit(f"There is no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}.")
    sections = _sections(RESULTS.read_text())
    for name in names or SECTIONS:
        section = SECTIONS[name]
        text = f"\n## {section.title}\n{section.text}\n\n{_measured()}\n\n"
        try:
            for line in section.lines():
                text += f"{line}\n"
                _write(sections | {section.title: text})
        except BaseException:
            _write(sections)
            raise
        sections[section.title] = text


def _write(sections: Mapping[str, str]) -> None:
    texts = (sections.get(section.title, "") for section in SECTIONS.values())
    RESULTS.write_text(HEAD.format(rounds=nodes.ROUNDS) + "".join(texts))


def _sections(page: str) -> dict[str, str]:
    """Each section of the page by its title, as it is written there."""
    return {part.split("\n", 1)[0]: f"\n## {part.rstrip()}\n" for part in re.split(r"^## ", page, flags=re.M)[1:]}


def _measured() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    return MEASURED.format(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=commit.strip(),
        cores=os.cpu_count(),
        machine=platform.machine(),
        python=platform.python_version(),
        versions=", ".join(f"{name} {version(name)}" for name in ("prefect", "dbt-core", "dbt-duckdb", "duckdb")),
        load=f"{os.getloadavg()[0]:.1f}",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
