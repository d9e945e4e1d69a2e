"""A project whose data is in PostgreSQL: initialized, built and installed by the commands that a user types."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import initialized
import pages
import postgres
from kube import Cluster
from pod_postgres import PodPostgres
from release import Release
from waiting import until

# The base image with another adapter is built anew: minutes, the first time.
pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

NAME = "pgshop"
BUILD, SMOKE, FRESHNESS = (f"dbt/{NAME}-{what}" for what in ("build-daily", "smoke-hourly", "source-freshness"))
RUN = f"dbt-run/{NAME}-run"
PASSWORD, NEXT = "first-4711", "second-4712"
# Each takes as long as the run says.
SLOW = "select n from {{ ref('totals') }}, pg_sleep({{ env_var('SECONDS', '0') }})"
FILES = postgres.FILES | {"models/slow.sql": SLOW, "models/slow_too.sql": SLOW}
# The same project on both: with the file first, as most begin.
MOVED = "movshop"
BOTH = f"""
{MOVED}:
  target: dev
  outputs:
    dev: {{type: duckdb, path: warehouse.duckdb}}
    prod:
      {{type: postgres, host: HOST, port: 5432, user: postgres, password: "{{{{ env_var('SHOP_PASSWORD', '') }}}}",
        dbname: postgres, schema: {MOVED}, threads: 2}}
"""
# What cannot be built again: a row for each build.
STEPS = "{{ config(materialized='incremental') }} select {{ 2 if is_incremental() else 1 }} as step"
ASLEEP = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()"


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[PodPostgres]:
    one = PodPostgres(cluster, "warehouse-data")
    one.prepare()
    one.start(PASSWORD)
    yield one
    one.remove()


@pytest.fixture(scope="module")
def shop(cluster: Cluster, database: PodPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The project, as `dbtpod init` takes it to a cluster, with two writers."""
    folder = tmp_path_factory.mktemp("pgshop")
    profile = postgres.PROFILE
    for variable, value in {
        """ "{{ env_var('SHOP_HOST') }}\"""": f" {database.host}",
        """ "{{ env_var('SHOP_PORT') | int }}\"""": " 5432",
        """ "{{ env_var('SHOP_SCHEMA') }}\"""": " analytics",
    }.items():
        assert variable in profile
        profile = profile.replace(variable, value)
    named = {"profiles.yml": profile, "dbt_project.yml": FILES["dbt_project.yml"]}
    initialized.create(folder, FILES | {path: text.replace("shop", NAME) for path, text in named.items()})
    cluster.load(initialized.image(NAME, folder, initialized.base(NAME, "EXTRA_PACKAGES=dbt-postgres")))
    initialized.give(cluster, cluster.namespace(NAME), SHOP_PASSWORD=PASSWORD)
    one = initialized.install(cluster, NAME, folder, "--set", "warehouse.writers=2")
    yield one
    initialized.remove(one)


def seconds(number: int) -> dict[str, dict[str, str]]:
    """Job variables of a run whose slow models take so long."""
    return {"env": {"SECONDS": str(number)}}


def test_the_four_flows_complete_and_their_rows_are_in_the_database(shop: Release, database: PodPostgres) -> None:
    for deployment in (BUILD, SMOKE, FRESHNESS):
        shop.prefect.completed(deployment)
    before = database.sql("select max(built_at) from analytics.facts")
    request = {"command": "run", "select": ["facts"], "full_refresh": True}
    run = shop.prefect.ended(shop.prefect.start_with(RUN, {"request": request}))

    assert run["state"]["name"] == "Completed", shop.prefect.page(run["id"])
    assert database.sql("select n, amount from analytics.totals") == "2|30"
    assert database.sql(f"select count(*), min(built_at) > '{before}' from analytics.facts") == "2|t"
    nodes = shop.prefect.ended_nodes(run["id"], 1)
    assert [(node["name"], node["state_name"]) for node in nodes] == [("model facts", "Completed")]


def test_a_server_that_crashes_in_a_model_is_waited_for_and_the_rest_is_built(
    shop: Release, database: PodPostgres
) -> None:
    run = shop.prefect.start(BUILD, **seconds(20))
    until(lambda: database.sql(ASLEEP) != "0", 120, "a model runs")

    database.crash()
    ended = shop.prefect.ended(run, 240)

    assert ended["state"]["name"] == "Completed", shop.prefect.page(run)
    assert any("nodes are left" in text for _, text in shop.prefect.log(run))
    assert len(shop.pods_of(run)) == 1
    assert database.sql("select n from analytics.slow") == "2"


def test_two_runs_write_at_once_and_a_third_waits(shop: Release, database: PodPostgres) -> None:
    def start(model: str) -> str:
        asked = {"request": {"command": "run", "select": [model]}}
        return shop.prefect.start_with(RUN, asked, **seconds(20))

    first, second, third = start("slow"), start("slow_too"), start("totals")
    until(lambda: database.sql(ASLEEP) == "2", 120, "both write")
    waiting = shop.prefect.flow_run(third)["state"]["type"]
    runs = [shop.prefect.ended(run) for run in (first, second, third)]

    assert waiting == "SCHEDULED"
    assert [run["state"]["name"] for run in runs] == ["Completed"] * 3


def test_a_changed_password_reaches_the_next_run(shop: Release, database: PodPostgres) -> None:
    database.sql(f"alter role postgres password '{NEXT}'")
    refused = shop.prefect.ended(shop.prefect.start(SMOKE))
    initialized.give(shop.cluster, NAME, SHOP_PASSWORD=NEXT)
    shop.prefect.completed(SMOKE)

    assert refused["state"]["name"] == "Failed"
    assert 'password authentication failed for user "postgres"' in refused["state"]["message"]
    assert PASSWORD not in str(shop.prefect.log(refused["id"]))


def test_the_data_of_the_file_is_moved_to_the_server_and_the_next_build_goes_on_there(
    cluster: Cluster, database: PodPostgres, tmp_path: Path
) -> None:
    names = {"dbt_project.yml": postgres.FILES["dbt_project.yml"].replace("shop", MOVED)}
    sources = {"models/shop.yml": postgres.FILES["models/shop.yml"].replace("::timestamp", "")}
    profile = {"profiles.yml": BOTH.replace("HOST", database.host), "models/steps.sql": STEPS}
    initialized.create(tmp_path, postgres.FILES | names | sources | profile)
    [block] = [one.text for one in pages.executed("deployments") if "dbtpod.moving.flow.move" in one.text]
    with (tmp_path / "prefect.yaml").open("a") as deployments:
        deployments.write(block.removeprefix("deployments:\n").replace("name: dbtpod,", f"name: {MOVED},"))
    base = initialized.base(MOVED, "EXTRA_PACKAGES=dbt-postgres")
    cluster.load(initialized.image(MOVED, tmp_path, base))
    initialized.give(cluster, cluster.namespace(MOVED), SHOP_PASSWORD=NEXT)
    database.sql(f"alter role postgres password '{NEXT}'")
    shop = initialized.install(cluster, MOVED, tmp_path)
    try:
        build = f"dbt/{MOVED}-build-daily"
        shop.prefect.completed(build)
        server = ("warehouse.kind=remote", "environment.target=prod")
        ports = ("--set-json", "warehouse.egress.ports=[5432]")
        initialized.install(cluster, MOVED, tmp_path, *(word for one in server for word in ("--set", one)), *ports)

        shop.prefect.completed("dbtpod-move/move")
        moved = database.sql(f"select step, n, amount from {MOVED}.steps, {MOVED}.totals")
        shop.prefect.completed(build)

        assert moved == "1|2|30"
        assert database.sql(f"select step from {MOVED}.steps order by step") == "1\n2"
    finally:
        initialized.remove(shop)
