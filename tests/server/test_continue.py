"""A flow run that failed is continued by another one, which a person starts after the fix: real server, real dbt."""

import json
from pathlib import Path
from uuid import UUID

import duckdb
import pytest
from prefect import State, flow

import shop
from dbtpod import resume, run_dbt, settings
from dbtpod.dbt import kept_state
from dbtpod.errors import DbtFailed
from dbtpod.warehouse import warehouse

pytestmark = pytest.mark.usefixtures("api")

BROKEN = {
    "models/orders.sql": "select 1 as id",
    "models/totals.sql": "select no_such_column as n from {{ ref('orders') }}",
}


@flow(name="build")
def build() -> State:
    return run_dbt("build")


@flow(name="continue")
def proceed(earlier: str) -> State:
    commands = resume.commands_of(warehouse.of(settings.from_environment()).volume, earlier)
    return run_dbt(*commands, continues=earlier)


def test_another_run_builds_what_is_left_and_publishes_the_whole(project: Path, published: Path) -> None:
    shop.write(project, BROKEN)
    kept_state.prepare(warehouse.project(settings.from_environment()))
    with pytest.raises(DbtFailed, match="totals"):
        build()
    [earlier] = [path.name for path in (published.parents[2] / "runs").iterdir()]
    shop.write(project, {"models/totals.sql": "select count(*) as n from {{ ref('orders') }}"})

    state = proceed(str(UUID(earlier)), return_state=True)

    assert state.is_completed(), state.message
    [newest] = (published.parents[2] / "runs").glob("*/1-build/attempt-2/run_results.json")
    assert [each["unique_id"] for each in json.loads(newest.read_text())["results"]] == ["model.shop.totals"]
    with duckdb.connect(published, read_only=True) as connection:
        assert connection.sql("select n from totals").fetchall() == [(1,)]
        assert connection.sql("select id from orders").fetchall() == [(1,)]
