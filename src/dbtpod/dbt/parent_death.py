"""Ends a child with its parent, by the kernel: a call after a fork, or `python leash.py PARENT_PID PROGRAM …`.

The second form becomes the program; it is a file of its own because the wish must be made in the child, before the
program: Popen's preexec_fn would do that too, but is unsafe beside Prefect's threads. On systems other than Linux
there is no such wish.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); the wish survives execve


def fasten(parent: int) -> None:
    """Let the kernel kill this process when `parent` dies; exits where that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(f"process {parent}, which started this one, is gone")


if __name__ == "__main__":
    fasten(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606
