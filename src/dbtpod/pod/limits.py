"""The limits of a run's pod that no new pod would keep either: its deadline and its scratch space.

Kubernetes ends a pod for them with the same SIGTERM as for a drained node, and does not say why. The supervisor looks
itself, and is a little earlier, so that such a run is ended once and not started again.
"""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import State, StateType

# The Job's clock began with the Job, ours with the state that the worker or its observer gave the run then.
_EARLIER_SECONDS = 5.0
# A SIGTERM so short before the deadline is the deadline's: by then Kubernetes' clock may be over, and ours not quite.
_SLACK_SECONDS = 15.0
# kubelet measures now and then; by the time of its SIGTERM some files may be gone.
_NEARLY = 0.95
_POWERS = {"m": -1, "": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
# By the variable of the job template; the lower one counts.
_SCRATCH_VALUES = {
    "DBTPOD_SCRATCH_LIMIT": "jobs.scratch.sizeLimit",
    "DBTPOD_EPHEMERAL_STORAGE_LIMIT": "jobs.resources.limits.ephemeral-storage",
}


@dataclass(frozen=True)
class Ending:
    """Why a run ends for good: the name of its state, which is a kind of Failed, and the message."""

    name: str
    message: str

    def state_after(self, state: State[Any] | None) -> State[None] | None:
        """Return the state that a run which is in `state` gets, to be forced; None where it keeps that one."""
        if state and not state.is_crashed() and (state.is_final() or state.is_cancelling()):
            return None
        return State[None](type=StateType.FAILED, name=self.name, message=self.message)


@dataclass(frozen=True)
class Deadline:
    """The Job's activeDeadlineSeconds, by the pod's clock."""

    seconds: int
    at: float  # seconds since the epoch

    def over(self, earlier: float = _EARLIER_SECONDS) -> Ending | None:
        """Return the ending where the time is over or will be in `earlier` seconds; None before."""
        if time.time() < self.at - min(earlier, self.seconds / 4):
            return None
        return Ending(
            "TimedOut",
            f"The run took longer than its deadline of {self.seconds} s, and is not started again. Raise "
            "jobs.activeDeadlineSeconds, or job_variables.active_deadline_seconds of this deployment.",
        )


@dataclass(frozen=True)
class Scratch:
    """What the pod may keep on its node's disk, by the value that sets it, and where it keeps that."""

    folder: Path
    bytes: int
    quantity: str  # as Kubernetes writes it
    value: str

    def exceeded(self, share: float = 1.0) -> Ending | None:
        """Return the ending where more than that share of the limit is used; None where it is not."""
        used = usage(self.folder)
        if used <= self.bytes * share:
            return None
        return Ending(
            "Failed",
            f"The run exceeded its scratch limit: {self.folder} holds {used / 2**20:.0f} MiB, and {self.value} is "
            f"{self.quantity}. Raise that value, or give the models that spill more memory. A new pod would end the "
            "same way, so the run is not started again.",
        )


@dataclass(frozen=True)
class Limits:
    """Both; None where the pod has none."""

    deadline: Deadline | None
    scratch: Scratch | None

    def exceeded(self) -> Ending | None:
        """Return what ends the run now; None for nothing."""
        return (self.deadline and self.deadline.over()) or (self.scratch and self.scratch.exceeded()) or None

    def behind_sigterm(self) -> Ending | None:
        """Return the limit that a SIGTERM, which has just come, is for; None: an eviction, a drain or a deletion."""
        at_deadline = self.deadline and self.deadline.over(_SLACK_SECONDS)
        return at_deadline or (self.scratch and self.scratch.exceeded(_NEARLY)) or None


def deadline(environment: Mapping[str, str], began: float) -> Deadline | None:
    """Read the deadline, None for none; `began` is when the Job was made, in seconds since the epoch."""
    seconds = environment.get("DBTPOD_DEADLINE", "").removesuffix("s")
    return Deadline(int(seconds), began + int(seconds)) if seconds.isdecimal() else None


def scratch(environment: Mapping[str, str]) -> Scratch | None:
    """Read the limit of the folder that DuckDB's own is in; None for none."""
    folder = Path(environment.get("DBTPOD_TEMP_DIRECTORY", "/tmp/duckdb")).parent  # noqa: S108
    quantities = {environment[name]: value for name, value in _SCRATCH_VALUES.items() if environment.get(name)}
    limits = [Scratch(folder, size(quantity), quantity, value) for quantity, value in quantities.items()]
    return min(limits, key=lambda limit: limit.bytes, default=None)


def for_duckdb(scratch: Scratch | None) -> dict[str, str]:
    """Return the variable that our plugin of dbt-duckdb reads: DuckDB's own error is better than an eviction."""
    return {"DBTPOD_TEMP_LIMIT": f"{scratch.bytes * 85 // 100 // 10**6}MB"} if scratch else {}


def size(quantity: str) -> int:
    """Return the bytes of a quantity as Kubernetes writes it, such as 10Gi or 1.5G; ValueError for anything else."""
    found = re.fullmatch(r"([0-9]+(?:[.][0-9]+)?)([mkKMGTPE]?)(i?)", quantity)
    if not found:
        raise ValueError(f"{quantity!r} is not a quantity such as 10Gi.")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2]])


def usage(folder: Path) -> int:
    """Return the bytes on disk of a folder's files, as kubelet counts them; what goes meanwhile is not counted."""
    total, folders = 0, [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
        except OSError:
            continue
    return total
