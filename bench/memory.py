"""Where the memory of a flow run's pod goes, measured without a cluster: its processes, beside a plain `dbt build`.

PYTHONPATH=.:tests/support python -m bench.memory [PART,PART …]
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Pending

from bench import measure, processes
from dbtpod import bake
from dbtpod.dbt import parse_state, process
from dbtpod.dbt.project import MADE, WRITER
from dbtpod.faststart import boot, parts
from prefect_server import running

FAST = (sys.executable, boot.__file__)
PLAIN = (sys.executable, "-m", "dbtpod.cli", "execute")
# The same as in the image and the chart's job template.
ENVIRONMENT = {
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "DBTPOD_POD_MEMORY_BYTES": str(2 * 2**30),
}
# What runs in a pod, and prints what `rows` reads.
SOURCE = Path(processes.__file__).read_text()
HEADER = "| | MiB | of it anonymous | private to the process |\n|---|---|---|---|"


def table(without: Sequence[str] = ()) -> Iterator[str]:
    """Run the demo project's build each way; yield the lines of a table as they come."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _table(Path(folder), without)


def _table(folder: Path, without: Sequence[str]) -> Iterator[str]:
    shutil.copytree("dbt_project", folder / "project", ignore=shutil.ignore_patterns("target", "logs", ".dbtpod"))
    shutil.copytree("flows", folder / "flows")
    (folder / "volume" / "work").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | ENVIRONMENT
    environment |= {
        "DUCKDB_PATH": str(folder / "volume" / "work" / "warehouse.duckdb"),
        "DBT_PROJECT_DIR": str(folder / "project"),
        "PREFECT_HOME": str(folder / "prefect"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    bake.bake(environment, print)
    yield HEADER
    bare = _bare(folder, environment)
    yield from rows("plain `dbt build`", bare)
    with running(folder) as server:
        client = SyncPrefectClient(server.url)
        environment["PREFECT_API_URL"] = server.url
        # The first builds from nothing.
        _pod(folder, client, FAST, environment)
        pods = {"fast start": (FAST, {}), "fast start off": (PLAIN, {})}
        for name in without:
            pods[f"without {name}"] = (FAST, {parts.WITHOUT: name})
        for name, (command, extra) in pods.items():
            found = _pod(folder, client, command, environment | extra)
            yield from rows(name, found)
            yield f"| **{name}, ratio** | **{_peak(found)['total'] / _peak(bare)['total']:.2f}** | | |"


def rows(name: str, log: str) -> Iterator[str]:
    """A line for each process, from a log that `processes` ended; the largest first."""
    peak = _peak(log)
    for each, sizes in sorted(peak["processes"].items(), key=lambda item: -item[1]["pss"]):
        yield f"| {name}: {each} | {sizes['pss']:.1f} | {sizes['anonymous']:.1f} | {sizes['private']:.1f} |"
    yield f"| **{name}, together** | **{peak['total']:.1f}** | | |"


def _peak(log: str) -> dict[str, Any]:
    [line] = [line for line in log.splitlines() if line.startswith("memory {")]
    found: dict[str, Any] = json.loads(line.removeprefix("memory "))
    return found


def _bare(folder: Path, environment: dict[str, str]) -> str:
    target = folder / "bare"
    target.mkdir()
    profiles = folder / "project" / MADE / WRITER
    shutil.copyfile(profiles / "dev" / parse_state.FILE, target / parse_state.FILE)
    own = {"DBT_TARGET_PATH": str(target), "DBT_LOG_PATH": str(target), "DBT_PROFILES_DIR": str(profiles)}
    for _ in range(2):  # the first builds from nothing
        found = _run(folder, (process.executable(), "build"), environment | own)
    Path(environment["DUCKDB_PATH"]).unlink()
    return found


def _pod(folder: Path, client: SyncPrefectClient, command: Sequence[str], environment: dict[str, str]) -> str:
    deployment = client.create_deployment(
        flow_id=client.create_flow_from_name("dbt-build"),
        name="bench",
        entrypoint="flows/flows.py:dbt_build",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}],
    )
    run = client.create_flow_run_from_deployment(deployment).id
    client.set_flow_run_state(run, Pending(), force=True)
    found = _run(folder, command, environment | {"PREFECT__FLOW_RUN_ID": str(run)})
    state = client.read_flow_run(run).state
    assert state is not None and state.is_completed(), (state, (folder / "log").read_text()[-3000:])
    return found


def _run(folder: Path, command: Sequence[str], environment: dict[str, str]) -> str:
    measure.command([sys.executable, processes.__file__, *command], environment, folder / "log")
    return (folder / "log").read_text()


if __name__ == "__main__":
    for line in table(sys.argv[1].split(",") if sys.argv[1:] else ()):
        print(line, flush=True)
