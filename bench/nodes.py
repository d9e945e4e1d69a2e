"""What it costs to see every node: a flow's `dbt build` beside the bare one, for projects of several sizes."""

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from api_gate import ApiGate
from bench import measure, project
from bench.measure import Cost, ratio, spread
from dbtpod import bake
from dbtpod.dbt import process
from dbtpod.dbt.project import MADE, WRITER
from prefect_server import Server, running

SIZES = (10, 200, 1000)
# For a server that answers late or not at all: large enough that waiting for it would show.
TROUBLED_SIZE = 200
ROUNDS = 5
HEADER = (
    "| models | wall, ratio to bare | CPU, ratio to bare | bare, s | flow's dbt, s | whole flow process, s "
    "| flow process, peak MiB | API calls per node | log lines per node |\n|---|---|---|---|---|---|---|---|---|"
)

Flow = Mapping[str, float]


def cost(rounds: int = ROUNDS) -> Iterator[str]:
    """Measure projects of each size; yield the lines of a markdown table as they come."""
    yield HEADER
    with tempfile.TemporaryDirectory() as folder, started(Path(folder) / "server") as server:
        for size in SIZES:
            yield _size(Path(folder) / str(size), size, server, rounds)


def trouble(rounds: int = ROUNDS) -> Iterator[str]:
    """Measure the same with a server that answers late, and with one that dies; yield a table's lines."""
    with tempfile.TemporaryDirectory() as folder, started(Path(folder) / "server") as server:
        yield from _troubled(Path(folder), server, rounds)


def _size(folder: Path, models: int, server: Server, rounds: int) -> str:
    bench = Bench(folder, models)
    bare, flows, whole = [], [], []
    for _ in range(rounds):
        bare.append(bench.bare())
        flow, process_cost = bench.flow(server.url)
        flows.append(flow)
        whole.append(process_cost)
    return _row(models, bare, flows, whole)


def _row(models: int, bare: Sequence[Cost], flows: Sequence[Flow], whole: Sequence[Cost]) -> str:
    walls, cpus = [cost.wall for cost in bare], [cost.cpu for cost in bare]
    cells = (
        models,
        ratio(_walls(flows), walls),
        ratio([flow["cpu"] for flow in flows], cpus),
        spread(walls),
        spread(_walls(flows)),
        spread([cost.wall for cost in whole]),
        f"{median(flow['memory'] for flow in flows):.0f}",
        f"{median(flow['requests'] for flow in flows) / models:.2f}",
        f"{median(flow['lines'] for flow in flows) / models:.2f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def _troubled(folder: Path, server: Server, rounds: int) -> Iterator[str]:
    bench = Bench(folder, TROUBLED_SIZE)
    slow = ApiGate(server.port)
    costs: dict[str, list[Flow]] = {"healthy": [], "answers after 5 s": [], "killed when dbt starts": []}

    def late() -> None:
        slow.delay = 5.0

    for number in range(rounds):
        slow.delay = 0.0
        costs["healthy"].append(bench.flow(server.url)[0])
        costs["answers after 5 s"].append(bench.flow(slow.url, late)[0])
        with started(folder / f"server-{number}") as dying:
            kill = dying.process.kill
            costs["killed when dbt starts"].append(bench.flow(dying.url, kill, survives=False)[0])
    slow.close()
    healthy = _walls(costs["healthy"])
    yield f"| API, {TROUBLED_SIZE} models | flow's dbt, ratio to healthy | s | with all else of the flow, s |"
    yield "|---|---|---|---|"
    for name, flows in costs.items():
        whole = spread([flow["flow"] for flow in flows])
        yield f"| {name} | {ratio(_walls(flows), healthy)} | {spread(_walls(flows))} | {whole} |"


def _walls(flows: Sequence[Flow]) -> list[float]:
    return [flow["wall"] for flow in flows]


@contextmanager
def started(home: Path) -> Iterator[Server]:
    """Yield a Prefect server with its files in a new folder."""
    home.mkdir(parents=True, exist_ok=True)
    with running(home) as server:
        yield server


class Bench:
    """One generated project, with a volume for the bare dbt and one for the flow."""

    def __init__(self, folder: Path, models: int) -> None:
        project.write(folder / "project", models)
        self.folder = folder
        self._bare, self.environment = (self._environment(folder / name) for name in ("bare", "flow"))
        bake.bake(self.environment, print)
        self.bare()  # dbt keeps its parse state in its target folder

    def _environment(self, volume: Path) -> dict[str, str]:
        (volume / "work").mkdir(parents=True)
        return dict(os.environ) | {
            "DUCKDB_PATH": str(volume / "work" / "warehouse.duckdb"),
            "DBT_PROJECT_DIR": str(self.folder / "project"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }

    def bare(self) -> Cost:
        """Run `dbt build` as it comes, from its kept parse state as the flow does."""
        target = str(self.folder / "bare" / "target")
        profiles = str(self.folder / "project" / MADE / WRITER)
        environment = self._bare | {"DBT_TARGET_PATH": target, "DBT_LOG_PATH": target, "DBT_PROFILES_DIR": profiles}
        return measure.command([process.executable(), "build"], environment, self.folder / "bare.log")

    def flow(
        self, api: str, when_dbt_starts: Callable[[], None] | None = None, survives: bool = True
    ) -> tuple[Flow, Cost]:
        """Run the flow against that API; what its dbt command took, and what the whole process took.

        A flow that does not survive its API fails when it reports its end, once.
        """
        log = self.folder / "flow.log"
        log.write_bytes(b"")
        if when_dbt_starts:
            threading.Thread(target=_once, args=(log, "Running with dbt", when_dbt_starts), daemon=True).start()
        cost = self.process(api, ["build"], {} if survives else {"PREFECT_CLIENT_MAX_RETRIES": "0"}, check=survives)
        shutil.rmtree(self.folder / "flow" / "runs")
        [costs] = [line for line in log.read_text().splitlines() if line.startswith('{"wall"')]
        return json.loads(costs), cost

    def process(self, api: str, words: Sequence[str], more: Mapping[str, str], check: bool = True) -> Cost:
        """Run a flow of one dbt command in a process of its own; its output is in flow.log."""
        environment = self.environment | {"PREFECT_API_URL": api, "PREFECT_HOME": str(self.folder / "home"), **more}
        command = [sys.executable, "-m", "bench.one_flow", *words]
        return measure.command(command, environment, self.folder / "flow.log", check)


def _once(log: Path, text: str, act: Callable[[], None], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if text in log.read_text():
            act()
            return
        time.sleep(0.05)
