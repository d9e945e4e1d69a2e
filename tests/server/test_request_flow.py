"""The form of `dbt-run` on a real Prefect server: what was asked for is run, and what is wrong stops at once."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import PrefectHTTPStatusError

from dbtpod.errors import DbtUnusable, SettingsError
from dbtpod.flows import run as dbt_run
from dbtpod.request import RunRequest
from prefect_server import Server
from ready_flows import registered, run_in_a_pod
from shop import ORDERS, write
from shop_flows import commands_of, run
from waiting import until

PROJECT = ORDERS | {
    "models/marts.yml": "models: [{name: totals, config: {tags: [daily]}}]",
    "seeds/regions.csv": "id\n1\n",
    "selectors.yml": "selectors: [{name: smoke, definition: {method: fqn, value: orders}}]",
}
# An event in each hour of 90 days.
EVENTS = ORDERS | {
    "models/events.sql": (
        "{{ config(event_time='ts') }} "
        "select range as id, timestamp '2026-01-01' + to_hours(range) as ts from range(90 * 24)"
    ),
    "models/daily.sql": """
{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='ts', batch_size='day',
          begin='2025-12-01', concurrent_batches=false) }}
select id, ts, '{{ var("note", "") }}' as note from {{ ref('events') }}
""",
}
DEPLOYMENT: dict[str, Any] = {
    "name": "by-hand",
    "entrypoint": "dbtpod.flows.run",
    "work_pool": {"name": "asked", "work_queue_name": "duckdb-writer"},
}


def asked(**fields: Any) -> State[Any]:
    """Run it in this process."""
    return run(dbt_run, RunRequest(**fields))


def query(path: Path, sql: str) -> list[Any]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.sql(sql).fetchall()


def tables(path: Path) -> list[Any]:
    return query(path, "select table_name from duckdb_tables() order by all")


# ---- through the API, as the form does


@pytest.fixture
def client(server: Server) -> SyncPrefectClient:
    return SyncPrefectClient(server.url)


@pytest.fixture
def deployment(
    api: Server, client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> DeploymentResponse:
    monkeypatch.setenv("PREFECT_API_URL", api.url)
    registered(DEPLOYMENT, PROJECT, tmp_path)
    return client.read_deployment_by_name("dbt-run/by-hand")


def test_a_run_with_parameters_builds_what_they_select_with_the_vars_that_they_give(
    client: SyncPrefectClient, deployment: DeploymentResponse, tmp_path: Path
) -> None:
    (tmp_path / "models/orders.sql").write_text("select '{{ var(\"text\") }}' as text")
    # dbt itself renders what stands in two braces.
    text = '{ brace: } }} "ü" 😀 $(id) ' + "x" * 10_000
    request = {"command": "run", "select": ["orders"], "vars": {"text": text}, "retries": 0}
    run = client.create_flow_run_from_deployment(deployment.id, parameters={"request": request}).id

    said = run_in_a_pod(client, run, tmp_path)

    state = client.read_flow_run(run).state
    assert state and state.is_completed(), said
    published = tmp_path / "volume/published/current/warehouse.duckdb"
    assert tables(published) == [("orders",)]
    assert query(published, "select text from orders") == [(text,)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"command": "biuld"},
        {"selct": ["orders"]},
        {"select": "orders"},
        {"resource_types": ["table"]},
        {"full_refresh": "yes"},
        {"vars": [1]},
        {"pieces": "hour"},
        {"result": "keep"},
        {"retries": -1},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_the_server_refuses_a_name_a_type_or_a_choice_that_the_form_does_not_have(
    client: SyncPrefectClient, deployment: DeploymentResponse, wrong: dict[str, Any]
) -> None:
    with pytest.raises(PrefectHTTPStatusError, match="409"):
        client.create_flow_run_from_deployment(deployment.id, parameters={"request": wrong})


def test_fields_that_do_not_fit_together_fail_the_run_with_what_to_do(
    client: SyncPrefectClient, deployment: DeploymentResponse, tmp_path: Path
) -> None:
    wrong = {"selector": "smoke", "select": ["orders"]}
    run = client.create_flow_run_from_deployment(deployment.id, parameters={"request": wrong}).id

    said = run_in_a_pod(client, run, tmp_path)

    state = client.read_flow_run(run).state
    assert state and state.is_failed(), said
    assert "With selector, dbt ignores select and exclude: give one or the other." in str(state.message)


# ---- what the project does not have


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"select": ["ordres+"]}, "'ordres+' matches nothing; did you mean 'orders'?"),
        ({"select": ["orders", "2+totls"]}, "'2+totls' matches nothing; did you mean 'totals'?"),
        ({"exclude": ["totls"]}, "'totls' matches nothing; did you mean 'totals'?"),
        ({"select": ["tag:dialy"]}, "'tag:dialy' matches nothing; did you mean 'daily'?"),
        ({"selector": "smoek"}, "selectors.yml has no selector 'smoek'; did you mean 'smoke'?"),
        ({"command": "run", "select": ["regions"]}, "it selects nothing that dbt run runs"),
        ({"select": ["path:models/nowhere"]}, "'path:models/nowhere' matches nothing"),
    ],
    ids=str,
)
def test_what_the_project_does_not_have_is_an_error_before_the_lock(
    project: Path, tmp_path: Path, fields: dict[str, Any], sentence: str
) -> None:
    write(project, PROJECT)

    state = asked(**fields)

    assert isinstance(state.result(raise_on_failure=False), SettingsError)
    assert sentence in str(state.message)
    # Neither the lock nor the run's folder was made.
    assert not any((tmp_path / "volume").iterdir())


@pytest.mark.usefixtures("api")
def test_a_method_that_dbt_does_not_know_is_said_in_its_words_before_the_lock(project: Path, tmp_path: Path) -> None:
    write(project, PROJECT)

    state = asked(select=["tga:daily"])

    assert isinstance(state.result(raise_on_failure=False), DbtUnusable)
    assert "'tga' is not a valid method name" in str(state.message)
    assert not any((tmp_path / "volume").iterdir())


@pytest.mark.usefixtures("api")
def test_what_is_there_is_run_by_selector_type_or_path(project: Path, published: Path) -> None:
    write(project, PROJECT)

    assert asked(selector="smoke").message == "1 node: 1 success"
    assert tables(published) == [("orders",)]
    assert asked(resource_types=["seed"]).message == "1 node: 1 success"
    assert asked(select=["path:models/totals.sql"], exclude=["regions"]).is_completed()
    assert tables(published) == [("orders",), ("regions",), ("totals",)]


# ---- backfill


def steps(state: State[Any], number: int) -> list[tuple[str, str]]:
    """The periods of the run's task runs, each with its start and its end, in their order; all have ended well."""
    ended = until(lambda: len(found := commands_of(state)) == number and found, 60, f"{number} commands")
    assert all(each.state and each.state.is_completed() for each in ended)
    names = [each.name.split() for each in sorted(ended, key=lambda each: each.start_time or each.created)]
    return [(words[-3], words[-1]) for words in names]


@pytest.mark.usefixtures("api")
def test_ninety_days_in_three_pieces_are_three_steps_and_equal_one_run(
    project: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, EVENTS)
    days = {"event_time_start": "2026-01-01", "event_time_end": "2026-04-01", "select": ["events", "daily"]}

    pieces = asked(command="run", pieces="month", **days)

    assert pieces.is_completed(), pieces.message
    assert steps(pieces, 3) == [
        ("2026-01-01", "2026-02-01"),
        ("2026-02-01", "2026-03-01"),
        ("2026-03-01", "2026-04-01"),
    ]
    # One publish, at the end.
    assert len(list((tmp_path / "volume/published").glob("[0-9]*"))) == 1
    in_pieces = query(published, "select * from daily order by all")
    assert len(in_pieces) == 90 * 24

    (tmp_path / "other").mkdir()
    monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "other/work/warehouse.duckdb"))
    whole = asked(command="run", pieces="whole", **days)

    assert steps(whole, 1) == [("2026-01-01", "2026-04-01")]
    assert query(tmp_path / "other/published/current/warehouse.duckdb", "select * from daily order by all") == in_pieces
