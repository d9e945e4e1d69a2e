"""What it takes to continue a failed run after the fix, beside a run of the same nodes alone."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import nodes
from bench.measure import ratio, spread
from dbtpod import bake

MODELS = 200
FAILS = 150
ROUNDS = 5
HEADER = (
    "| models, of which one fails | continued, ratio to these nodes alone | continued, s | alone, s "
    "| nodes that ran | to reach |\n|---|---|---|---|---|---|"
)


def table(rounds: int = ROUNDS) -> Iterator[str]:
    """Yield the lines of a markdown table: whole flow processes, each with its start and its report."""
    yield HEADER
    with tempfile.TemporaryDirectory() as home, nodes.started(Path(home) / "server") as server:
        bench = nodes.Bench(Path(home) / "project", MODELS)
        bench.process(server.url, ["build"], {})
        continued, alone, ran = [], [], set()
        for number in range(rounds):
            shutil.rmtree(bench.folder / "flow" / "runs")
            run, broken = _failed(bench, server.url, number)
            continued.append(bench.process(server.url, ["build"], {"CONTINUES": run}).wall)
            names = _ran(bench)
            ran.add(len(names))
            assert broken in names
            alone.append(bench.process(server.url, ["build", "--select", *names], {}).wall)
    yield (
        f"| {MODELS} | {ratio(continued, alone)} | {spread(continued)} | {spread(alone)} "
        f"| {', '.join(map(str, ran))} | 1.1 |"
    )


def _failed(bench: nodes.Bench, api: str, number: int) -> tuple[str, str]:
    """Fail a build at one model, and fix it as a new image would; the run, and the model."""
    name = f"model_{FAILS:04}"
    path = bench.folder / "project" / "models" / f"{name}.sql"
    text = path.read_text()
    path.write_text(f"select no_such_column from ({text})")
    bake.bake(bench.environment, _say_nothing)
    bench.process(api, ["build"], {}, check=False)
    [run] = (bench.folder / "flow" / "runs").iterdir()
    path.write_text(f"{text} -- fixed {number}")
    bake.bake(bench.environment, _say_nothing)
    return run.name, name


def _ran(bench: nodes.Bench) -> list[str]:
    """Return the models that the newest attempt ran."""
    results = (bench.folder / "flow" / "runs").glob("*/1-build/attempt-*/run_results.json")
    newest = max(results, key=lambda path: path.stat().st_mtime)
    return [each["unique_id"].split(".")[2] for each in json.loads(newest.read_text())["results"]]


def _say_nothing(_: str) -> None:
    """What is baked is not of interest here."""
