"""A process that imports dbt before it is needed, and runs the commands handed to it, one after another.

Run by path, so that it imports dbt and next to nothing of ours. A Unix socket carries, for each command, its arguments,
environment and folder with the descriptor to print to; back comes the exit code. The output is dbt's alone: its end
is the end of that descriptor, as with a process per command. `preloaded` is the flow's end of the socket.

Each command parses by dbt's own partial parse. A manifest passed on would save its loading, but one that was run
holds compiled SQL, which dbt takes for current: of a full refresh, in an incremental run after it.

Before its first command it does what each process does once: see `_warm_up`.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from importlib import import_module
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

READY = b"ready"
# Some 300 models: what is larger takes longer to load twice than the warm-up saves. A command comes within half a
# second of the import, unless it waits for something.
_LARGE_BYTES, _LATE_SECONDS = 1 << 20, 1.0


def serve(wire: socket.socket) -> None:
    """Import dbt, then run commands until the other end is closed; one that is running then dies with it.

    Where dbt is not as `parts` has it, this ends at once, and each command is a `dbt` of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_flow, args=(wire.fileno(),), daemon=True).start()
    # What an import makes is there to stay: looking through it for garbage costs a tenth of the time.
    gc.disable()
    from dbtpod.dbt.project import DUCKDB, find
    from dbtpod.environment import environment
    from dbtpod.errors import SettingsError
    from dbtpod.faststart import allocation, later, parts, patches, precompiled

    allocation.give_back()
    patches.apply_before_import()
    adapter = _adapter()
    with later.of_dbt():
        if not parts.PRELOAD.is_usable():
            return
        import dbt.task.build  # noqa: F401
        from dbt import mp_context
    if adapter == DUCKDB and not parts.DUCKDB.is_usable():
        return
    with suppress(ImportError):  # dbt says it
        import_module(f"dbt.adapters.{adapter}")
    patches.apply()
    with suppress(SettingsError):
        precompiled.use(precompiled.path(find(environment(), Path.cwd())))
    warms_up = parts.WARM_UP.is_usable()
    gc.freeze()
    gc.enable()
    _quieten()
    if mp_context._MP_CONTEXT.get_start_method() != "fork":
        # dbt's locks make this helper process in its first command, where it would keep that command's output open.
        resource_tracker.ensure_running()
    wire.send(READY)
    if warms_up:
        _warm_up(wire)
        _forget()
    while True:
        message, (output, *_), *_ = socket.recv_fds(wire, 1 << 20, 1)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        code = _run(**json.loads(message))
        wire.send(str(code).encode())
        _quieten()
        _forget()


def _adapter() -> str:
    """Return the adapter of the target that a command without one has."""
    from dbtpod.dbt import kinds
    from dbtpod.dbt.project import DUCKDB, facts, find
    from dbtpod.environment import environment
    from dbtpod.errors import SettingsError

    given = environment()
    with suppress(SettingsError):
        known = facts(find(given, Path.cwd()))
        if known and (default := kinds.default_target(known, given)):
            return default[1].adapter
    return DUCKDB


def _quieten() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.close(nothing)


def _forget() -> None:
    """Free what the last command made, or the next would make the same beside it: dbt's adapters keep its manifest."""
    from dbt.adapters.factory import reset_adapters

    reset_adapters()  # type: ignore[no-untyped-call]
    gc.collect()


def _die_with_flow(wire: int) -> None:
    hung_up = select.poll()
    hung_up.register(wire, 0)
    hung_up.poll()
    # Not an exit: dbt's threads and DuckDB's would be waited for.
    os.kill(os.getpid(), signal.SIGKILL)


def _has_time(wire: socket.socket, parse_state_bytes: int) -> bool:
    """Whether no command comes so soon that a warm-up would delay it.

    dbt is imported sooner than Prefect asks for it, and a pod that waits for its time, or for another writer, has
    longer. But a warm-up loads the whole project, which the command does again: of a large one, only in a long wait.
    """
    seconds = _LATE_SECONDS if parse_state_bytes > _LARGE_BYTES else 0
    return not select.select([wire], [], [], seconds)[0]


def _warm_up(wire: socket.socket) -> None:
    """Build nothing at all: what dbt imports, compiles and generates for its first command is then there for the next.

    It parses as any command does, from the baked state; without nodes it runs no hook and opens no database. What it
    says is lost, and said again by the command that follows. A command that comes in the middle waits for the end; to
    interrupt it then ends the process, which has not begun it.
    """
    from dbtpod.dbt import kept_state, parse_state, process
    from dbtpod.errors import SettingsError
    from dbtpod.settings import from_environment
    from dbtpod.warehouse.warehouse import project

    with tempfile.TemporaryDirectory() as folder, suppress(SettingsError, OSError):
        ours, target_dir = project(from_environment()), Path(folder)
        if not _has_time(wire, parse_state.size(ours)):
            return
        kept_state.give(ours, (), target_dir)
        environment = process.environment(ours, target_dir)
        _run(["build", "--exclude", "*"], environment, str(ours.folder), signal.SIG_DFL)


def _run(
    args: list[str], environment: dict[str, str], folder: str, on_interrupt: Any = signal.default_int_handler
) -> int:
    """Do what the `dbt` executable does, and leave the process as it was."""
    from dbt.cli.main import cli

    # The process is one command's at a time, and has one thread.
    os.environ.clear()  # noqa: TID251
    os.environ.update(environment)  # noqa: TID251
    os.chdir(folder)
    sys.argv = ["dbt", *args]
    signal.signal(signal.SIGINT, on_interrupt)
    helper: Any = resource_tracker._resource_tracker
    has_helper = helper._fd is not None
    try:
        cli.main(args, prog_name="dbt")
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # what an interpreter does with it
        traceback.print_exc()
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # dbt leaves that to the interpreter's exit; an open file could be neither copied nor opened by the flow.
        if duckdb := sys.modules.get("dbt.adapters.duckdb.connections"):
            duckdb.DuckDBConnectionManager.close_all_connections()
        if not has_helper:
            # A python model that uses multiprocessing starts one, which keeps the command's output open.
            helper._stop()
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
