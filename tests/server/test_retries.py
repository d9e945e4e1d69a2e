"""What is tried again is what the class of the error says: a real flow, a real Prefect API."""

from pathlib import Path
from typing import Any

import pytest
from prefect import State, flow

from dbtpod import errors
from dbtpod.attempts import Attempts
from dbtpod.command import Dbt, Retries
from dbtpod.dbt.project import Project
from dbtpod.ui.node_runs import NodeRuns

ERRORS = [name for name, each in vars(errors).items() if isinstance(each, type) and name != "DbtPodError"]


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize("name", ERRORS)
def test_a_command_is_tried_again_where_its_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tries = []

    def fail(*_: Any) -> None:
        tries.append(name)
        raise getattr(errors, name)("what happened")

    monkeypatch.setattr(Attempts, "run", fail)
    file = tmp_path / "work" / "warehouse.duckdb"

    @flow
    def failing() -> State[Any]:
        with NodeRuns() as nodes:
            dbt = Dbt(Project(tmp_path, file, file), tmp_path, None, Retries(1, 0), nodes)
            dbt("build")
        return dbt.state

    state = failing(return_state=True)

    assert type(state.result(raise_on_failure=False)).__name__ == name
    assert len(tries) == (2 if getattr(errors, name).retry else 1)
