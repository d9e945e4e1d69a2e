"""Becomes the program it is given, which the kernel ends if our process dies: `python leash.py PARENT_PID PROGRAM …`.

A file of its own, run by path, because the wish must be made in the child, after the fork and before the program:
Popen's preexec_fn would do that too, but is unsafe beside Prefect's threads. On systems other than Linux it is a
plain exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2); the wish survives execve


def main(parent: int, command: list[str]) -> None:
    """Replace this process by `command`, leashed to `parent`."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the wish was made
            sys.exit(f"{command[0]}: the flow that started it is gone")
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
