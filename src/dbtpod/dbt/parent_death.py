"""The parent-death signal: the kernel kills a child when its parent dies.

Called after a fork, or `python parent_death.py PARENT_PID PROGRAM …`, which becomes the program. That form is a file
of its own because the signal must be set in the child, before the program: Popen's preexec_fn would do that too, but
is unsafe beside Prefect's threads. On systems other than Linux there is no such signal, and nothing is done.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); the setting survives execve


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when `parent` dies; exits where that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(f"process {parent}, which started this one, is gone")


def tied(*program: str) -> list[str]:
    """Return the command that becomes the program, and that the kernel kills when this process dies."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *program]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    # A shell that starts a program with `&` has it ignore SIGINT, which survives execve: dbt could not be interrupted.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
