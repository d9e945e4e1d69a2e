"""The demo project on Trino with Iceberg tables, installed by the commands that a user types; and Trino's faults."""

import csv
import shutil
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import initialized
from kube import REPO, Cluster, command
from pod_postgres import PodPostgres
from pod_s3 import PodS3
from pod_trino import CATALOG, PodTrino
from release import Release
from waiting import until

# Trino starts in a minute, and takes another one to see that a worker is gone.
pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(1200, func_only=True)]

# As its dbt project.
NAME = "shop"
NAMESPACE = "trino-shop"
FIRST, SECOND = f"{NAME}:trino-first", f"{NAME}:trino-second"
BUILD, SMOKE, FRESHNESS = (f"dbt/{NAME}-{what}" for what in ("build-daily", "smoke-hourly", "source-freshness"))
RUN = f"dbt-run/{NAME}-run"
PASSWORD = "s3cret"
SCHEMA = f"{CATALOG}.analytics"
PROFILE = f"""
dbtpod:
  target: prod
  outputs:
    prod:
      type: trino
      method: none
      user: dbt
      host: trino.lake.svc
      port: 8080
      database: {CATALOG}
      schema: analytics
      threads: 4
"""
# As long as the run says: the rows of that schema of tpch are computed, by each worker its part.
LONG = "select count(*) as n from tpch.{{ env_var('%s', 'tiny') }}.lineitem where sqrt(extendedprice) < 0"
SIZE = "sf2"
MODELS = {
    "models/slow.sql": "{{ config(materialized='table') }} " + LONG % "ROWS",
    # Its row is committed when its hook begins.
    "models/log.sql": "{{ config(materialized='incremental', post_hook=\""
    + LONG % "HOOK_ROWS"
    + '") }} select 1 as id',
}


@pytest.fixture(scope="module")
def bucket(cluster: Cluster) -> Iterator[PodS3]:
    one = PodS3(cluster, "lake-objects", "lake")
    one.start()
    yield one
    one.remove()


@pytest.fixture(scope="module")
def trino(cluster: Cluster, bucket: PodS3) -> Iterator[PodTrino]:
    catalog = PodPostgres(cluster, "lake-catalog")
    catalog.prepare()
    catalog.start(PASSWORD)
    one = PodTrino(cluster, "lake", catalog, PASSWORD, bucket)
    one.start()
    yield one
    one.remove()
    catalog.remove()


@pytest.fixture(scope="module")
def shop(cluster: Cluster, trino: PodTrino, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The demo project with a profile for Trino, as `dbtpod init` takes it to a cluster."""
    folder = tmp_path_factory.mktemp("trino") / NAME
    shutil.copytree(
        REPO / "dbt_project", folder, ignore=shutil.ignore_patterns("target", "logs", ".dbtpod", "*.duckdb")
    )
    for name, text in {"profiles.yml": PROFILE, **MODELS}.items():
        (folder / name).write_text(text)
    initialized.init(folder)
    base = initialized.base(NAME, "EXTRA_PACKAGES=dbt-trino")
    for image in (FIRST, SECOND):
        command("docker", "tag", initialized.image(NAME, folder, base), image)
        change_seeds(folder / "seeds")
    cluster.load(FIRST, SECOND)
    initialized.give(cluster, cluster.namespace(NAMESPACE))
    options = ("--set-string", "image.tag=trino-first", "--set", "environment.schedules=false")
    one = initialized.install(cluster, NAME, folder, *options, namespace=NAMESPACE)
    yield one
    initialized.remove(one)


def change_seeds(folder: Path) -> None:
    """A day later: an order comes late, one is removed, one is cancelled, and a customer has moved."""

    def orders(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows[4]["status"] = "cancelled"
        late = {"id": "9001", "customer_id": "1", "ordered_at": "2026-07-01 10:00:00", "status": "completed"}
        return [row for row in rows if row["id"] != "20"] + [late | {"loaded_at": ""}]

    def payments(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [row for row in rows if row["order_id"] != "20"]

    def customers(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows[0]["country"] = "NO"
        return rows

    edit(folder / "raw_orders.csv", orders)
    edit(folder / "raw_payments.csv", payments)
    edit(folder / "raw_customers.csv", customers)


def edit(file: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    rows = change(seed(file))
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def seed(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def start(shop: Release, *models: str, **size: str) -> str:
    """Start a run of these models with two retries, and with sizes for the long queries; its id."""
    request = {"command": "run", "select": list(models), "retries": 2, "retry_delay_seconds": 5}
    return shop.prefect.start_with(RUN, {"request": request}, env=size)


def completed(shop: Release, run: str) -> None:
    """Wait for the end of a run: dbt asks Trino some hundred questions, and a lost worker costs a minute."""
    ended = shop.prefect.ended(run, 500)
    assert ended["state"]["name"] == "Completed", shop.prefect.page(run)


def in_a_long_query(trino: PodTrino) -> str:
    """Wait until a worker runs a part of the long query; its pod."""
    return until(lambda: trino.busy_worker(f"tpch.{SIZE}.lineitem"), 180, "a long query on a worker")


def test_the_four_flows_complete_and_their_rows_are_in_trino(shop: Release, trino: PodTrino) -> None:
    for deployment in (BUILD, SMOKE, FRESHNESS):
        completed(shop, shop.prefect.start(deployment))
    request = {"command": "run", "select": ["fct_orders"], "full_refresh": True}
    completed(shop, shop.prefect.start_with(RUN, {"request": request}))

    seeds = REPO / "dbt_project/seeds"
    cents = sum(int(row["amount_cents"]) for row in seed(seeds / "raw_payments.csv"))
    [[count, amount]] = trino.sql(f"select count(*), sum(net_amount) from {SCHEMA}.fct_orders")
    assert count == len(seed(seeds / "raw_orders.csv"))
    assert Decimal(amount) == Decimal(cents) / 100
    [[versions]] = trino.sql(f"select count(*) from {SCHEMA}.customers_snapshot where dbt_valid_to is null")
    assert versions == len(seed(seeds / "raw_customers.csv"))


def test_a_second_build_has_the_rows_of_its_day_and_the_snapshot_the_old_version_too(
    shop: Release, trino: PodTrino
) -> None:
    completed(shop, shop.prefect.start(BUILD))
    before = trino.sql(f"select count(*) from {SCHEMA}.fct_orders")
    totals = dict(trino.sql(f"select cast(order_id as varchar), status from {SCHEMA}.fct_orders"))

    completed(shop, shop.prefect.start(BUILD, image=SECOND))

    after = dict(trino.sql(f"select cast(order_id as varchar), status from {SCHEMA}.fct_orders"))
    assert trino.sql(f"select count(*) from {SCHEMA}.fct_orders") == before
    assert totals.keys() - after.keys() == {"20"}
    assert after.keys() - totals.keys() == {"9001"}
    assert {order for order, status in after.items() if totals.get(order, status) != status} == {"5"}
    versions = trino.sql(
        f"select country, dbt_valid_to is null from {SCHEMA}.customers_snapshot where customer_id = 1 "
        "order by dbt_valid_from"
    )
    assert [valid for _, valid in versions] == [False, True]
    assert versions[1][0] == "NO"
    assert trino.sql(f"select count(*) from {SCHEMA}.customers_snapshot where dbt_valid_to is not null") == [[1]]


@pytest.mark.parametrize("time", range(5))
def test_a_worker_killed_in_a_query_costs_that_node_only(shop: Release, trino: PodTrino, time: int) -> None:
    trino.wait()
    run = start(shop, "stg_orders", "slow", ROWS=SIZE)

    trino.kill(in_a_long_query(trino))
    completed(shop, run)

    log = shop.prefect.log(run)
    assert any("nodes are left" in text for _, text in log), log
    assert len(shop.pods_of(run)) == 1


def test_rows_that_a_model_appended_before_a_worker_died_are_not_appended_again(shop: Release, trino: PodTrino) -> None:
    trino.wait()
    [[before]] = trino.sql(f"select count(*) from {SCHEMA}.log")
    run = start(shop, "log", HOOK_ROWS=SIZE)

    trino.kill(in_a_long_query(trino))
    ended = shop.prefect.ended(run, 400)

    assert ended["state"]["name"] == "Failed", shop.prefect.page(run)
    assert "stopped in model.shop.log, whose rows may be there already" in ended["state"]["message"]
    assert trino.sql(f"select count(*) from {SCHEMA}.log") == [[before + 1]]


def test_a_coordinator_restarted_in_a_model_is_waited_for(shop: Release, trino: PodTrino) -> None:
    trino.wait()
    run = start(shop, "stg_orders", "slow", ROWS=SIZE)
    in_a_long_query(trino)

    trino.kill_coordinator()
    completed(shop, run)

    assert any("nodes are left" in text for _, text in shop.prefect.log(run))


def test_s3_that_is_away_for_20_seconds_is_waited_for(shop: Release, trino: PodTrino, bucket: PodS3) -> None:
    trino.wait()
    run = start(shop, "stg_orders", "fct_orders", "dim_customers", "slow", ROWS="sf1")
    until(lambda: shop.prefect.nodes(run), 120, "the first node")

    bucket.go_away()
    time.sleep(20)
    bucket.come_back()
    completed(shop, run)

    # By Trino itself, whose client of S3 tries again.
    assert "Resuming" not in str(shop.prefect.log(run))
