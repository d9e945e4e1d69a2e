"""One command's wall time, CPU time and peak memory, as the kernel counts them; medians and ratios of several."""

import os
import subprocess
import time
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


def command(argv: Sequence[str], environment: Mapping[str, str], output: Path, check: bool = True) -> Cost:
    """Run it to its end, its output in a file; RuntimeError with the output's end where it fails and must not."""
    with output.open("wb") as file:
        started = time.perf_counter()
        process = subprocess.Popen(argv, env=dict(environment), stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and check:
        end = output.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}:\n{end}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_utime, usage.ru_maxrss / 1024)


def spread(values: Sequence[float]) -> str:
    """Write a median with its smallest and largest."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def ratio(ours: Sequence[float], bare: Sequence[float]) -> str:
    """Write the median of the round-by-round ratios: noise that lasts longer than a round falls out."""
    return spread([a / b for a, b in zip(ours, bare, strict=True)])
