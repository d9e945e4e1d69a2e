"""Flows as a user writes them, over the project that the fixture `project` makes."""

from collections.abc import Callable
from typing import Any

from prefect import State, flow

from dbtpod import run_dbt


@flow
def building(*args: str, retries: int = 0) -> State[Any]:
    return run_dbt(args or "build", retries=retries, retry_delay_seconds=1)


@flow
def checking_freshness() -> State[Any]:
    return run_dbt("source freshness", retries=3, retry_delay_seconds=1)


def run(function: Callable[..., State[Any]], *args: Any, **kwargs: Any) -> State[Any]:
    """Run a flow; its last state, also where that is a failure."""
    return function(*args, return_state=True, **kwargs)
