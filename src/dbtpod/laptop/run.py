"""What `dbtpod run` does: one flow run on this machine, with Prefect's server in the same process."""

import asyncio
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any

from dbtpod import settings
from dbtpod.dbt import process
from dbtpod.errors import SettingsError
from dbtpod.faststart import importing, patched
from dbtpod.laptop import choice, embedded, place, served
from dbtpod.laptop.choice import Choice
from dbtpod.laptop.place import Place
from dbtpod.timeout import Timeout
from dbtpod.warehouse import run_lock, warehouse
from dbtpod.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from prefect import Flow, State
    from prefect.client.orchestration import SyncPrefectClient

# Prefect's last log lines and events, which are sent by threads of their own.
_LAST_SECONDS = 20.0
# Until the server has written down the last of them, and the pause between two looks.
_RECORDED_SECONDS, _PAUSE_SECONDS = 10.0, 0.25
_REQUEST_SECONDS = 30.0
# What Prefect's server does on each start, and has to do only where it is new: it makes the database, and writes the
# types of all blocks into it, for which it imports each installed package with some. A block that is saved brings its
# type.
_FIRST_START = (
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START",
    # Which imports them only to see that they are the same.
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION",
)
# No person looks at the server before the run has ended, so it writes down changes of task runs a second's at once, and
# events some seconds': one by one takes an eighth of a build's CPU. What is left is written when it ends.
_WRITTEN_TOGETHER = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "1000",
}


def run(words: Sequence[str], folder: Path | None) -> int:
    """Run what the words name (see `choice`) and print what came of it; the exit code is 0 only where it completed."""
    here = place.enter(folder)
    given = settings.from_environment()
    kept = warehouse.of(given)
    kept.volume.check(writes=True)
    made = place.prepare(warehouse.project(given))
    if settings.environment().get("DBTPOD_PLAIN_DBT") != "1":
        process.launch_by(patched.launcher(made))
    with _address(here) as listener:
        # It reads prefect.yaml by Prefect, which has read its settings then.
        chosen = choice.choose(words, here)
        with _server(listener, here):
            state = _run(chosen, kept)
            if listener:
                _send_the_rest(state)
    if not state.is_completed():
        print(f"\n{chosen.name} {state.name}: {state.message}", file=sys.stderr)
        return 1
    print(_next_steps(chosen, str(state.message), kept, here))
    return 0


@contextmanager
def _address(here: Place) -> Iterator[socket | None]:
    """Give Prefect its API's address: the user's own server's, that of `dbtpod serve`, or a socket for one in here."""
    if settings.environment().get("PREFECT_API_URL"):
        yield None
    elif running := served.find(here):
        served.wait(running)
        settings.add_to_environment({"PREFECT_API_URL": running.api_url})
        yield None
    else:
        with embedded.listen() as listener:
            settings.add_to_environment(_own_server(here) | {"PREFECT_API_URL": embedded.api_url(listener)})
            yield listener


@contextmanager
def _server(listener: socket | None, here: Place) -> Iterator[None]:
    """Have Prefect's API answer in the block: with a socket by a server in this process."""
    _import("prefect.flow_engine")
    from dbtpod.faststart import tls

    tls.share()
    if listener is None:
        yield
    else:
        _import("prefect.server.api.server")
        with embedded.running(listener, here):
            yield


def _import(name: str) -> None:
    """Import a part of Prefect, which reads its settings from the environment then."""
    with importing.quickly():
        import_module(name)


def _own_server(here: Place) -> dict[str, str]:
    return {
        # It has none, and Prefect would take it to be at the API's port, which is another one each time.
        "PREFECT_UI_URL": "",
        **dict.fromkeys(_FIRST_START, str(not here.has_migrated())),
        **_WRITTEN_TOGETHER,
        # The server is of the same installation and asks for no token; each client would ask it for both.
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
        # A package that the server's background tasks use would have each of its functions check its arguments.
        "PY_KEY_VALUE_DISABLE_BEARTYPE": "true",
    }


def _send_the_rest(state: "State[Any]") -> None:
    """Wait until the server has all that this process sends it and has written it down, before the server ends."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_LAST_SECONDS)
    # A server that is ended while it writes the end of a task run loses that, and prints a traceback.
    unfinished = {
        "flow_runs": {"id": {"any_": [str(state.state_details.flow_run_id)]}},
        "task_runs": {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}},
    }
    wait = Timeout(_RECORDED_SECONDS)
    # The run has ended, and what it published is there, whatever the server answers now.
    with suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        while client.request("POST", "/task_runs/count", json=unfinished).json() and not wait.is_over:
            wait.pause(_PAUSE_SECONDS)


def _run(chosen: Choice, kept: Warehouse) -> "State[Any]":
    import httpx
    from prefect.context import SyncClientContext

    from dbtpod.laptop import dead
    from dbtpod.watchdog.server import Server, connected

    with SyncClientContext.get_or_create() as context:
        # A server that is busy is asked by the next run.
        with suppress(httpx.HTTPError), connected(settings.environment(), _REQUEST_SECONDS) as http:
            for line in dead.end(Server(http, ""), kept.volume.runs):
                print(line)
        return _flow_run(context.client, _load(chosen.entrypoint), chosen, kept.volume.runs)


def _load(entrypoint: str) -> "Flow[..., Any]":
    from prefect.flows import load_flow_from_entrypoint

    try:
        return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
    except Exception as error:  # whatever the user's file raises when it is run
        raise SettingsError(f"The flow {entrypoint} cannot be loaded: {type(error).__name__}: {error}") from error


def _flow_run(client: "SyncPrefectClient", flow: "Flow[..., Any]", chosen: Choice, runs: Path) -> "State[Any]":
    """Run the flow with a lock that shows whether this process still lives."""
    from prefect.flow_engine import run_flow

    flow_run = client.create_flow_run(flow, parameters=dict(chosen.parameters))
    file = run_lock.path(runs, str(flow_run.id))
    descriptor = run_lock.take(file)
    try:
        state: Any = run_flow(flow, flow_run=flow_run, return_type="state")
        if inspect.iscoroutine(state):
            state = asyncio.run(state)
        found: State[Any] = state
        return found
    finally:
        if descriptor is not None:
            run_lock.drop(file, descriptor)


def _next_steps(chosen: Choice, outcome: str, kept: Warehouse, here: Place) -> str:
    program = _program(here)
    serve = f"{here.variables}{program} serve"
    lines = [
        f"\n{chosen.name} is done: {outcome}",
        *([f"The warehouse: {here.shown(kept.readable)}"] if _is_here(kept) else []),
        "",
        "Next:",
        f"  what was published     DUCKDB_PATH={kept.volume.database} {program} generations list",
        *([] if here.prefect_yaml.is_file() else [f"  a prefect.yaml         {program} init"]),
        f"  runs and schedules     {serve}",
    ]
    return "\n".join(lines)


def _is_here(kept: Warehouse) -> bool:
    return kept.readable.exists() and not kept.volume.is_remote


def _program(here: Place) -> str:
    """Return how a person starts this program: by its path where it is in the repository, and else by its name."""
    ours = Path(sys.argv[0])
    return here.shown(ours) if ours.is_relative_to(here.repository) else "dbtpod"
