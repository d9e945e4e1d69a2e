"""Runs a program, and prints as its last line when its processes held the most memory together, and each of them then.

    python processes.py PROGRAM ARGUMENT …

It runs inside a pod as well, from the text of this file, so it imports nothing of ours. What counts is the Pss of each
process, by which a page of two processes is half a page of each.
"""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PAUSE_SECONDS = 0.02
# The first that a command line contains; a process that was forked and not executed has its parent's.
NAMES = {
    "resource_tracker": "multiprocessing's helper",
    "preload.py": "preloaded dbt",
    "faststart/boot.py": "supervisor",
    "dbtpod.cli execute": "dbtpod execute",
    "flow-run execute": "prefect flow-run execute",
    "flow-run\0execute": "prefect flow-run execute",
    "prefect.engine": "engine",
    "prefect._internal": "workspace resolver",
    "/dbt": "dbt",
}
_KIB = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)


def main(argv: list[str]) -> int:
    """Run the program to its end; its exit code."""
    process = subprocess.Popen(argv)
    peak: dict[str, object] = {"total": 0.0}
    while process.poll() is None:
        found = _look(process.pid)
        total = sum(each["pss"] for each in found.values())
        if total > float(str(peak["total"])):
            peak = {"total": total, "processes": found, **_cgroup()}
        time.sleep(PAUSE_SECONDS)
    print(f"memory {json.dumps(peak)}", flush=True)
    return process.returncode


def _look(root: int) -> dict[str, dict[str, float]]:
    """The MiB of each process below that one and of itself, by its name."""
    found: dict[str, dict[str, float]] = {}
    for pid, parent in _tree(root):
        with suppress(OSError):  # it has ended
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            kib = {key: int(number) for key, number in _KIB.findall(Path(f"/proc/{pid}/smaps_rollup").read_text())}
            name = next((name for part, name in NAMES.items() if part in command), command[:60])
            if name == "supervisor" and pid != root and parent == root:
                name = "engine"
            private = kib["Private_Clean"] + kib["Private_Dirty"]
            sizes = {"pss": kib["Pss"], "private": private, "anonymous": kib.get("Pss_Anon", 0)}
            there = found.setdefault(name, dict.fromkeys(sizes, 0.0))
            for key, size in sizes.items():
                there[key] += size / 1024
    return found


def _tree(root: int) -> list[tuple[int, int]]:
    """That process and all below it, each with its parent."""
    found, left = [], [(root, 0)]
    while left:
        pid, parent = left.pop()
        found.append((pid, parent))
        with suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
                children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
                left += [(int(child), pid) for child in children]
    return found


def _cgroup() -> dict[str, dict[str, float]]:
    """What the pod's cgroup holds beside that, in MiB."""
    for path in ("/sys/fs/cgroup/memory.stat", "/sys/fs/cgroup/memory/memory.stat"):
        with suppress(OSError, ValueError):
            pairs = (line.split() for line in Path(path).read_text().splitlines())
            return {"cgroup": {key: int(number) / 2**20 for key, number in pairs if int(number) >= 2**20}}
    return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
