"""`make run`: the daily build on this machine, with Prefect's embedded server, and a word on what to do next."""

import os
import sys
from pathlib import Path
from typing import Any, cast

from prefect import Flow, State
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_HOME

from dbtpod.errors import DbtPodError
from dbtpod.settings import Settings, from_environment

ENTRYPOINT = "flows/flows.py:dbt_build"


def main() -> int:
    """Run the flow and print where the result is; the exit code is 0 only where it completed."""
    settings = from_environment()
    flow: Flow[[], Any] = load_flow_from_entrypoint(ENTRYPOINT, use_placeholder_flow=False)
    state = cast("State[Any]", flow(return_state=True))
    if not state.is_completed():
        print(f"\n{flow.name} {state.name}: {state.message}", file=sys.stderr)
        return 1
    print(_next_steps(str(state.message), settings))
    return 0


def _next_steps(outcome: str, settings: Settings) -> str:
    home = Path(str(PREFECT_HOME.value()))
    return f"""
dbt-build is done: {outcome}
The warehouse: {settings.readable_path}

Next:
  what was published DUCKDB_PATH={settings.duckdb_path} .venv/bin/python -m dbtpod.generations list
  the run's page     PREFECT_HOME={_short(home)} .venv/bin/prefect server start    and open http://127.0.0.1:4200
  change the models  dbt_project/models, then run this again
  on a cluster       make up"""


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DbtPodError as error:
        sys.exit(str(error))
