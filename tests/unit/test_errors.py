"""The table of errors says what is tried again, and that is what happens: a real flow, a real Prefect API."""

import re
from pathlib import Path
from typing import Any

import pytest
from prefect import State, flow

from dbtpod import errors
from dbtpod.attempts import Attempts
from dbtpod.command import Dbt, Retries
from dbtpod.dbt.project import Project
from dbtpod.ui.node_runs import NodeRuns

TABLE = dict(re.findall(r"── (\w+) .* retry: (yes|no)$", errors.__doc__ or "", re.MULTILINE))
WAREHOUSE = Path(__file__).parents[2] / "docs" / "warehouse.md"


def test_the_table_names_every_error_with_what_it_is() -> None:
    classes = {name: each.retry for name, each in vars(errors).items() if isinstance(each, type)}
    del classes["DbtPodError"]

    assert {name: "yes" if retry else "no" for name, retry in classes.items()} == TABLE


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(("name", "retry"), TABLE.items())
def test_a_command_is_tried_again_where_the_table_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, retry: str
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
    assert len(tries) == (2 if retry == "yes" else 1)


def test_the_manual_says_the_same_of_a_writer_that_waited_too_long() -> None:
    assert "retried" not in WAREHOUSE.read_text().split("## A build")[1].split("2. **")[0]
