"""The form of `dbt-run`: filled in by a person in the Prefect UI, and each of its fields through the API."""

import json
import re
from typing import Any
from uuid import uuid4

import pytest

import browser
import images
import run_form
from dbtpod.request import RunRequest
from kube import Cluster
from release import RUN, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

# Each model makes one field of the form seen.
MODELS = {
    # A row more with each run, and one row after it was made from nothing.
    "growing.sql": """
{{ config(materialized='incremental') }} select '{{ var("note", "no note") }}' as note
""",
    "beside.sql": "{{ config(materialized='table') }} select * from {{ ref('growing') }}",
    "events.sql": """
{{ config(materialized='table', event_time='ts') }}
select range as id, timestamp '2026-01-01' + to_hours(range) as ts from range(90 * 24)
""",
    "daily.sql": """
{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='ts', batch_size='day',
          begin='2025-12-01', concurrent_batches=false) }}
select id, ts from {{ ref('events') }}
""",
    # One fails while another is built, and the third waits for that.
    "wrong.sql": "select * from no_such_table",
    "slow.py": """
import time

def model(dbt, session):
    time.sleep(3)
    return session.sql("select 1 as id")
""",
    "late.sql": "{{ config(materialized='table') }} select * from {{ ref('slow') }}",
}


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo with those models beside its own."""
    files = {f"dbt_project/models/asked/{name}": text for name, text in MODELS.items()}
    made = images.variant(tmp_path_factory.mktemp("asked"), "asked", files)
    cluster.load(made)
    return made


def asked(warehouse: Release, image: str, **request: Any) -> dict[str, Any]:
    """Start a run as the form does, and return it at its end."""
    return warehouse.prefect.ended(warehouse.prefect.start_with(RUN, {"request": request}, image=image))


def completed(warehouse: Release, image: str, **request: Any) -> set[str]:
    """Start a run as the form does, which completes; the nodes that it ran."""
    run = asked(warehouse, image, **request)
    assert run["state"]["name"] == "Completed", warehouse.prefect.page(run["id"])
    # Each piece of an event-time range is a command, which counts its own.
    ended = map(int, re.findall(r"Done\. PASS=.* TOTAL=(\d+)", warehouse.pod_log(run["id"])))
    return {row["name"] for row in warehouse.prefect.ended_nodes(run["id"], sum(ended))}


def named(warehouse: Release, name: str) -> str:
    """The id of the run of that name; "" where there is none."""
    found = warehouse.prefect.all("flow_runs", flow_runs={"name": {"any_": [name]}})
    return str(found[0]["id"]) if found else ""


@pytest.mark.soak
def test_select_exclude_vars_and_full_refresh_do_what_dbts_options_do(warehouse: Release, image: str) -> None:
    part = {"select": ["growing+"], "exclude": ["beside"], "full_refresh": True}
    note = '{three} "ü" $(id)'

    names = completed(warehouse, image, command="run", vars={"note": "one"}, **part)
    assert names == {"model growing"}
    assert warehouse.rows("select note from growing") == [["one"]]

    completed(warehouse, image, command="build", select=["growing"], vars={"note": "two"})
    assert warehouse.rows("select note from growing order by all") == [["one"], ["two"]]

    completed(warehouse, image, command="run", vars={"note": note}, **part)
    assert warehouse.rows("select note from growing") == [[note]]


@pytest.mark.soak
def test_an_event_time_range_builds_its_days_alone_and_a_next_one_adds_its_own(warehouse: Release, image: str) -> None:
    days = "select min(ts)::date::varchar, max(ts)::date::varchar, count(*) from daily"
    january = {"event_time_start": "2026-01-30", "event_time_end": "2026-02-02"}

    names = completed(warehouse, image, select=["events", "daily"], full_refresh=True, pieces="whole", **january)
    assert names == {"model events", "model daily"}
    assert warehouse.rows(days) == [["2026-01-30", "2026-02-01", 3 * 24]]

    february = {"event_time_start": "2026-02-02T01:00:00+01:00", "event_time_end": "2026-02-04"}
    completed(warehouse, image, command="run", select=["daily"], pieces="day", **february)
    assert warehouse.rows(days) == [["2026-01-30", "2026-02-03", 5 * 24]]


@pytest.mark.soak
def test_a_selector_or_resource_types_choose_and_result_says_what_becomes_of_it(warehouse: Release, image: str) -> None:
    before = warehouse.generation()
    previews = warehouse.dbtpod("generations", "list").count("preview-")

    smoke = completed(warehouse, image, selector="smoke", result="discard")

    assert {name for name in smoke if name.startswith("model ")} == {
        "model stg_customers",
        "model stg_orders",
        "model stg_payments",
    }
    assert (warehouse.generation(), warehouse.dbtpod("generations", "list").count("preview-")) == (before, previews)

    seeds = completed(warehouse, image, resource_types=["seed", "snapshot"], result="keep aside")

    assert {name.split()[0] for name in seeds} == {"seed", "snapshot"}
    assert warehouse.generation() == before
    assert warehouse.dbtpod("generations", "list").count("preview-") == previews + 1

    tests = completed(warehouse, image, command="test", select=["stg_orders"])

    assert {name.split()[0] for name in tests} == {"test"}


@pytest.mark.soak
def test_with_fail_fast_what_waits_for_its_turn_is_not_built_any_more(warehouse: Release, image: str) -> None:
    before = warehouse.generation()

    run = asked(warehouse, image, command="run", select=["wrong", "slow", "late"], fail_fast=True, retries=0)

    assert run["state"]["name"] == "Failed", warehouse.prefect.page(run["id"])
    log = warehouse.pod_log(run["id"])
    assert "START sql view model main.wrong" in log
    assert "OK created sql table model main.late" not in log
    assert "START sql table model main.late" not in log
    assert warehouse.generation() == before


def test_a_person_fills_in_the_form_in_the_prefect_ui_and_that_is_what_runs(warehouse: Release) -> None:
    before, name = warehouse.generation(), f"asked-by-a-person-{uuid4()}"
    ui = warehouse.prefect.url.removesuffix("/api")

    with browser.opened() as page:
        form = run_form.opened(page, ui, warehouse.prefect.auth, "dbt-run")
        assert form.fields == ["request", *(each.title for each in RunRequest.model_fields.values())]
        form.write_json("Vars", json.dumps({"note": 'a "b" ü', "days": [1, 2]}, ensure_ascii=False))
        form.choose("Command", "run")
        form.add("Select", "+fct_orders", "dim_customers")
        form.add("Exclude", "dim_customers")
        form.switch("Full refresh")
        form.switch("Fail fast")
        form.write("Retries", "0")
        form.submit(name)
        run = until(lambda: named(warehouse, name), 30, f"the run {name}")
        page.go(f"{ui}/runs/flow-run/{run}", wholly=False)
        page.shows("Completed", seconds=150)

    found = warehouse.prefect.ended(run)
    assert found["state"]["name"] == "Completed", warehouse.prefect.page(run)
    chosen = {
        "command": "run",
        "select": ["+fct_orders", "dim_customers"],
        "exclude": ["dim_customers"],
        "vars": {"note": 'a "b" ü', "days": [1, 2]},
        "full_refresh": True,
        "fail_fast": True,
        "retries": 0,
    }
    assert found["parameters"]["request"] == RunRequest(**chosen).model_dump()
    rows = warehouse.prefect.ended_nodes(run, warehouse.totals(run)["TOTAL"])
    assert {row["name"] for row in rows} == {"model stg_orders", "model stg_payments", "model fct_orders"}
    assert warehouse.generation() > before


def test_what_the_form_does_not_allow_is_said_beside_the_field_and_nothing_runs(warehouse: Release) -> None:
    key = warehouse.prefect.call("GET", f"deployments/name/{RUN}")["id"]
    ours = {"deployments": {"id": {"any_": [key]}}}
    before = warehouse.prefect.call("POST", "flow_runs/count", **ours)

    with browser.opened() as page:
        form = run_form.opened(page, warehouse.prefect.url.removesuffix("/api"), warehouse.prefect.auth, "dbt-run")
        form.write_json("Vars", "{no json}")
        page.click("button[type=submit]", "Submit")
        page.shows("Invalid JSON")

    assert warehouse.prefect.call("POST", "flow_runs/count", **ours) == before
