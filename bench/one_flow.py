"""One flow run of a dbt command, and what it took, as the last line of its output; started by bench.nodes.

`python -m bench.one_flow COMMAND`, and with CONTINUES the flow run that it continues.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
from prefect import State, flow
from prefect.logging.handlers import APILogHandler

from dbtpod.run import writing

_counts = {"requests": 0, "lines": 0}


def _count(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def counting(*args: Any, **kwargs: Any) -> Any:
        _counts[what] += 1
        return call(*args, **kwargs)

    return counting


def _cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


@flow(name="dbt-build")
def dbt_build() -> State[Any]:
    """Run it, with the time and the CPU that the dbt command took beside it, and the time of all that the flow does."""
    before, entered = dict(_counts), time.perf_counter()
    with writing(continues=os.environ.get("CONTINUES")) as dbt:
        cpu, started = _cpu(), time.perf_counter()
        dbt(*(sys.argv[1:] or ["build"]))
        cost.update(wall=time.perf_counter() - started, cpu=_cpu() - cpu)
    cost.update({what: count - before[what] for what, count in _counts.items()}, flow=time.perf_counter() - entered)
    return dbt.state


if __name__ == "__main__":
    cost: dict[str, float] = {}
    httpx.Client.send = _count("requests", httpx.Client.send)  # type: ignore[method-assign]
    httpx.AsyncClient.send = _count("requests", httpx.AsyncClient.send)  # type: ignore[method-assign]
    APILogHandler.emit = _count("lines", APILogHandler.emit)  # type: ignore[method-assign]
    try:
        dbt_build()
    finally:  # where no server is left, the flow fails after dbt is done
        cost["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(cost), flush=True)
