"""A dbt project whose models wait, fail or run without end on demand, to look at a running dbt from outside."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import warehouse
from dbtpod.dbt import effective_profile, parse_state, process
from dbtpod.dbt.project import Project
from waiting import until

FILES = {
    "dbt_project.yml": "name: small\nprofile: small\n",
    "profiles.yml": """
small:
  target: dev
  outputs:
    dev: {type: duckdb, path: warehouse.duckdb, threads: 2}
""",
    "models/plain.sql": "select 1 as id",
    "models/plain_too.sql": "select 2 as id",
    "models/failing.sql": "select * from nowhere",
    # Interruptible: DuckDB stops a query when dbt asks it to.
    "models/endless.sql": """
{{ config(materialized='table') }}
select count(*) as n from range(1000000) a, range(1000000) b where a.range * b.range = 7
""",
    # Tells what it sees, then waits for the file at GATE; SIGINT does not end it.
    "models/gate.py": """
import json, os, time

def model(dbt, session):
    gate = os.environ["GATE"]
    with open(gate + ".seen.tmp", "w") as file:
        json.dump({"environment": dict(os.environ), "pid": os.getpid()}, file)
    os.replace(gate + ".seen.tmp", gate + ".seen")
    while not os.path.exists(gate):
        time.sleep(0.01)
    return session.sql("select 1 as id")
""",
    # The kernel does this where memory runs out.
    "models/killed.py": """
import os, signal

def model(dbt, session):
    os.kill(os.getpid(), signal.SIGKILL)
    return session.sql("select 1 as id")
""",
}


def create(folder: Path, more: Mapping[str, str] | None = None) -> Project:
    """Write the project and parse it once; its tests share the volume, as a new DUCKDB_PATH would void the parse."""
    for name, text in (FILES | dict(more or {})).items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "volume" / "work").mkdir(parents=True)
    effective_profile.write(folder / "project", {})
    project = warehouse.project(folder / "volume", folder / "project")
    with process.start(["parse"], project, folder) as dbt:
        lines = list(dbt.lines())
        assert dbt.wait() == 0, lines
    baked = parse_state.baked_path(project, "dev")
    baked.parent.mkdir(parents=True)
    (folder / parse_state.FILE).rename(baked)
    return project


def target_dir(project: Project, folder: Path) -> Path:
    """Create a target folder with the parsed project in it."""
    folder.mkdir(parents=True)
    parse_state.give(project, (), folder)
    return folder


def seen(gate: Path) -> dict[str, Any]:
    """Wait for the gate model to run; its environment and process id."""
    path = gate.with_name(gate.name + ".seen")
    until(path.exists)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_until_a_query_runs(lines: Iterable[str]) -> None:
    """Read dbt's lines until the query of the first node runs: dbt loses an interrupt that comes before.

    It would then have to be killed.

    By the CPU time that dbt has had since it began the node: compiling it takes a fraction of that.
    """
    start = next(line for line in lines if '"LogStartLine"' in line)
    pid = json.loads(start)["info"]["pid"]
    began = _cpu_seconds(pid)
    until(lambda: _cpu_seconds(pid) > began + 5, seconds=60)


def _cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def node_statuses(folder: Path) -> dict[str, str]:
    """Return dbt's own word for each node, by its name."""
    results = json.loads((folder / "run_results.json").read_text())["results"]
    return {result["unique_id"].split(".")[-1]: result["status"] for result in results}


def gate_environment(gate: Path) -> dict[str, str]:
    """Return our environment with the place of the gate."""
    return {**os.environ, "GATE": str(gate)}
