"""What the pod of a flow run runs, by path, instead of `prefect flow-run execute`: dbt and Prefect import side by side.

dbt's process comes first, from an interpreter that has imported next to nothing: its import is the longest. Where
Prefect is not as `parts` has it, Prefect's own command takes over, and dbt is started when needed.
"""

import atexit
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn


def main() -> int:
    """Run the flow run of PREFECT__FLOW_RUN_ID; the exit code, of the supervisor and of the forked engine alike."""
    # By path, Python puts this folder first, where modules such as `engine` would hide others; -m puts the work folder.
    sys.path[0] = os.getcwd()  # noqa: PTH109
    # Kept until someone can act on it; the first process of a container would never see it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    flow_end, pid = _start_dbt()
    from dbtpod.faststart import allocation, importing, later, parts

    allocation.give_back()
    with importing.quickly(), later.of_prefect():
        if not parts.SUPERVISOR.is_usable():
            _execute()
        from dbtpod.faststart import supervise

    return supervise.run(flow_end, pid)


def _execute() -> NoReturn:
    """Become the pod that uses supported ways alone."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    os.execv(sys.executable, [sys.executable, "-m", "dbtpod.cli", "execute"])  # noqa: S606


def _start_dbt() -> tuple[socket.socket, int]:
    """Start the process that preloads dbt; the flow's end of its socket, and its process id."""
    from dbtpod import settings

    flow_end, dbts_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with dbts_end:
        dbts_end.set_inheritable(True)
        # Each command brings its whole environment; this is what the import sees.
        ours = settings.environment()
        environment = {k: v for k, v in ours.items() if k != "PYTHONPATH" and not k.startswith("PREFECT_")}
        command = [sys.executable, "-P", str(Path(__file__).with_name("preload.py")), str(dbts_end.fileno())]
        pid = os.posix_spawn(sys.executable, command, environment, setpgroup=0, setsigmask=[])
    return flow_end, pid


def _end_at_once(codes: list[int]) -> None:
    """End the process with the exit code that is in there, without what an interpreter does last.

    It takes all objects apart, and so copies for each process what the supervisor and its fork have in common.
    """
    if codes:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(codes[0])


if __name__ == "__main__":
    ended: list[int] = []
    # The first that is registered is called last.
    atexit.register(_end_at_once, ended)
    ended.append(main())
    sys.exit(ended[0])
