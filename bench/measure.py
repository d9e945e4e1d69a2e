"""One command's wall time, CPU time and peak memory, as the kernel counts them; medians and ratios of several."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Cost:
    """What one run of a command took."""

    wall: float  # seconds
    cpu: float  # seconds, of the process and the children that it waited for
    user: float  # of these, what is not the kernel's
    memory: float  # MiB, the peak of its largest process


# A process of its own, and a small one: Linux counts the memory of whoever starts a program as that program's.
_WAIT = """
import json, os, sys, time
started = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ), 0)
wall = time.perf_counter() - started
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), wall, usage.ru_stime, usage.ru_utime, usage.ru_maxrss], file)
"""


def command(argv: Sequence[str], environment: Mapping[str, str], output: Path, check: bool = True) -> Cost:
    """Run it to its end, its output in a file; RuntimeError with the output's end where it fails and must not."""
    cost = output.with_name(f"{output.name}.cost")
    waits = [sys.executable, "-I", "-S", "-c", _WAIT, str(cost), *argv]
    with output.open("wb") as file:
        subprocess.run(waits, env=dict(environment), stdout=file, stderr=subprocess.STDOUT, check=True)
    code, wall, kernel, user, memory = json.loads(cost.read_text())
    if code and check:
        end = output.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{argv[0]} ended with {code}:\n{end}")
    return Cost(wall, user + kernel, user, memory / 1024)


def spread(values: Sequence[float]) -> str:
    """Write a median with its smallest and largest."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def ratio(ours: Sequence[float], bare: Sequence[float]) -> str:
    """Write the median of the round-by-round ratios: noise that lasts longer than a round falls out."""
    return spread([a / b for a, b in zip(ours, bare, strict=True)])
