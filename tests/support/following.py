"""A flow that shows dbt's nodes as task runs, made of events; and what the server then has."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.events import Event as PrefectEvent
from prefect.runtime import flow_run

from dbtpod.dbt import stream
from dbtpod.dbt.events import Event, NodeFinished, NodeStarted
from dbtpod.dbt.node import NodeStatus, kind_of, name_of
from dbtpod.dbt.results import RunReport
from dbtpod.ui.node_runs import NodeRuns
from prefect_server import Server
from record import DATA
from waiting import until

START = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
RAW, STG, FCT = "seed.shop.raw_orders", "model.shop.stg_orders", "model.shop.fct_orders"
TEST = "test.shop.not_null_fct_orders_order_id.cf6c17daed"
PARENTS = {
    RAW: [],
    "source.shop.raw.orders": [RAW],
    STG: ["source.shop.raw.orders"],
    "model.shop.ephemeral": [STG],
    FCT: ["model.shop.ephemeral", STG],
    TEST: [FCT],
}


def follow(
    commands: Sequence[Sequence[Event]],
    target: Path,
    *,
    at_the_start: Callable[[], None] = lambda: None,
    at_the_end: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    took: list[float] | None = None,
    left: list[float] | None = None,
    flow_run_id: list[str] | None = None,
    reconciled: RunReport | None = None,
) -> str:
    """Run a flow that observes the events of each command; its flow run's id."""

    @flow(name="dbt-build")
    def build() -> str:
        if flow_run_id is not None:
            flow_run_id.append(str(flow_run.id))
        with timed(left), NodeRuns() as nodes:
            for events in commands:
                with timed(took), nodes.command(target) as shown:
                    at_the_start()
                    for event in events:
                        shown.observe(event)
                    if reconciled:
                        shown.reconcile(reconciled)
                    at_the_end()
        after()
        return str(flow_run.id)

    return build()


@contextmanager
def timed(seconds: list[float] | None) -> Iterator[None]:
    begun = time.monotonic()
    yield
    if seconds is not None:
        seconds.append(time.monotonic() - begun)


def node(
    node_id: str,
    status: NodeStatus = NodeStatus.SUCCESS,
    started: datetime = START,
    finished: datetime = START + timedelta(seconds=1),
    message: str = "",
    rows: int | None = None,
) -> list[Event]:
    kind, name, seconds = kind_of(node_id), name_of(node_id), (finished - started).total_seconds()
    return [
        NodeStarted(node_id, kind, name, started, 1, 1),
        NodeFinished(node_id, kind, name, status, finished, seconds, message, rows),
    ]


def recorded(build: str) -> list[Event]:
    return list(stream.read((DATA / f"{build}.jsonl").read_text().splitlines()))


def write_manifest(folder: Path, parents: Mapping[str, Sequence[str]]) -> Path:
    (folder / "manifest.json").write_text(json.dumps({"nodes": {}, "parent_map": parents, "child_map": {}}))
    return folder


def final_rows(server: Server, run: str, expected: int, seconds: float = 60) -> list[dict[str, Any]]:
    def all_ended() -> list[dict[str, Any]] | None:
        rows = server.filter("task_runs", run)
        # The server writes a row's state down after the row.
        ended = [row for row in rows if row["end_time"] and row["state"]]
        return ended if len(ended) == expected == len(rows) else None

    return until(all_ended, seconds) or []


def edges(server: Server, run: str) -> set[tuple[str, str]]:
    nodes = dict(server.get(f"/flow_runs/{run}/graph-v2")["nodes"])
    return {(nodes[parent["id"]]["label"], row["label"]) for row in nodes.values() for parent in row["parents"]}


def form(event: PrefectEvent) -> dict[str, Any]:
    return event.model_dump(mode="json", exclude={"related", "follows"})


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
