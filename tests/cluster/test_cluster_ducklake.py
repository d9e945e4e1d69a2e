"""A project whose data is in a DuckLake, on PostgreSQL and S3 in the cluster; its readers have no volume of ours."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import initialized
import s3
from faults import kill_dbt
from kube import Cluster, pod
from pod_postgres import PodPostgres
from pod_s3 import PodS3
from release import Release

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

NAME = "lakeshop"
PASSWORD = "first-4711"
BUILD, SMOKE, FRESHNESS = (f"dbt/{NAME}-{what}" for what in ("build-daily", "smoke-hourly", "source-freshness"))
RUN = f"dbt-run/{NAME}-run"
# A build has as many orders as it was started with: a reader that counts two numbers saw two builds.
COUNT = "{{ env_var('ORDERS', '1000') }}"
PROFILE = f"""
{NAME}:
  target: prod
  outputs:
    prod:
      type: duckdb
      path: ":memory:"
      database: shop
      schema: main
      threads: 4
      attach:
        - alias: shop
          path: "ducklake:postgres:host={{host}} dbname=postgres user=postgres \
password={{{{{{{{ env_var('DBT_ENV_SECRET_LAKE') }}}}}}}}"
          options: {{{{data_path: "s3://{s3.BUCKET}/shop/", metadata_schema: shop}}}}
      secrets:
        - type: s3
          key_id: {s3.KEY}
          secret: "{{{{{{{{ env_var('DBT_ENV_SECRET_S3') }}}}}}}}"
          endpoint: {{s3}}
          url_style: path
          use_ssl: false
          region: us-east-1
"""
FILES = {
    "dbt_project.yml": f"name: {NAME}\nprofile: {NAME}\nmodels: {{+materialized: table}}\nseeds: {{+schema: raw}}\n",
    "seeds/orders.csv": "id,amount,loaded_at\n1,10,2026-01-01\n2,20,2026-01-02\n",
    "models/stg_orders.sql": "select id, amount from {{ source('raw', 'orders') }} -- depends on {{ ref('orders') }}",
    "models/orders_now.sql": f"select range as id, {COUNT} as n from range({COUNT})",
    "models/slow.sql": """
select count(*) as n from {{ ref('orders_now') }}, range({{ env_var('ROUNDS', '1') }} * 1000000) t(i)
where hash(i) % 7 = 3
""",
    "models/orders_then.sql": "-- depends on {{ ref('slow') }}\nselect * from {{ ref('orders_now') }}",
    "models/facts.sql": """
{{ config(materialized='incremental', unique_key='id') }}
select id, amount, now() as built_at from {{ ref('stg_orders') }}
""",
    "snapshots/kept.yml": "snapshots: [{name: kept, relation: ref('stg_orders'), config: "
    "{unique_key: id, strategy: check, check_cols: [amount]}}]",
    "tests/fails.sql": "select 1 where {{ env_var('FAILS', 'false') }}",
    "models/shop.yml": """
sources:
  - name: raw
    schema: "{{ target.schema }}_raw"
    config: {freshness: {error_after: {count: 1000, period: day}}, loaded_at_field: "loaded_at::timestamp"}
    tables: [{name: orders}]
models:
  - name: stg_orders
    columns: [{name: id, data_tests: [unique, not_null]}]
""",
}
# A reader far from the volume: it asks PostgreSQL which build is published, and attaches that. One JSON line each.
READER = """
import json, sys, time
import duckdb
from dbtpod.dbt import extensions

host, s3, key, secret, password = sys.argv[1:6]
rounds = int(sys.argv[6])
connection = duckdb.connect(config=extensions.settings())
for name in ("ducklake", "postgres_scanner", "httpfs"):
    connection.execute(f"LOAD {name}")
connection.execute(
    f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{s3}', URL_STYLE path, USE_SSL false, "
    "REGION 'us-east-1')"
)
address = f"host={host} dbname=postgres user=postgres password={password}"
connection.execute(f"ATTACH '{address}' AS records (TYPE postgres, READ_ONLY)")
while rounds:
    rounds -= 1
    found = connection.execute("SELECT metadata_schema, snapshot_version FROM records.shop.readable").fetchone()
    connection.execute(
        f"ATTACH 'ducklake:postgres:{address}' AS lake "
        f"(METADATA_SCHEMA '{found[0]}', SNAPSHOT_VERSION {found[1]}, READ_ONLY)"
    )
    counts = connection.execute(
        "SELECT (SELECT count(*) FROM lake.main.orders_now), (SELECT max(n) FROM lake.main.orders_now), "
        "(SELECT count(*) FROM lake.main.orders_then), (SELECT max(n) FROM lake.main.orders_then)"
    ).fetchone()
    connection.execute("DETACH lake")
    print(json.dumps(counts), flush=True)
    time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def catalog(cluster: Cluster) -> Iterator[PodPostgres]:
    one = PodPostgres(cluster, "lake-catalog")
    one.prepare()
    one.start(PASSWORD)
    yield one
    one.remove()


@pytest.fixture(scope="module")
def bucket(cluster: Cluster) -> Iterator[PodS3]:
    one = PodS3(cluster, "lake-files")
    one.start()
    yield one
    one.remove()


@pytest.fixture(scope="module")
def shop(
    cluster: Cluster, catalog: PodPostgres, bucket: PodS3, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Release]:
    folder = tmp_path_factory.mktemp(NAME)
    profile = PROFILE.format(host=catalog.host, s3=bucket.address)
    initialized.create(folder, FILES | {"profiles.yml": profile})
    image = initialized.image(NAME, folder, initialized.base(NAME, "WITH=ducklake"))
    cluster.load(image)
    cluster.namespace(NAME)
    initialized.give(cluster, NAME, DBT_ENV_SECRET_LAKE=PASSWORD, DBT_ENV_SECRET_S3=s3.SECRET)
    ports = "[5432, 7070]"
    one = initialized.install(cluster, NAME, folder, "--set-json", f"warehouse.egress.ports={ports}")
    reader = pod("reader", ("sleep", "infinity"), {"app": "reader"}, {})
    reader["spec"]["containers"][0]["image"] = image
    reader["metadata"]["namespace"] = cluster.namespace("lake-readers")
    cluster.apply(reader)
    cluster.kubectl("wait", "pod", "reader", "--namespace=lake-readers", "--for=condition=Ready", "--timeout=90s")
    yield one
    initialized.remove(one)
    cluster.kubectl("delete", "namespace", "lake-readers", "--wait=false")


def reader_command(shop: Release, catalog: PodPostgres, bucket: PodS3, rounds: int) -> list[str]:
    given = (catalog.host, bucket.address, s3.KEY, s3.SECRET, PASSWORD, str(rounds))
    return ["exec", "reader", "--namespace=lake-readers", "--", "python", "-c", READER, *given]


def read(shop: Release, catalog: PodPostgres, bucket: PodS3) -> list[int]:
    """What a reader in another namespace counts in what is published."""
    found: list[int] = json.loads(shop.cluster.kubectl(*reader_command(shop, catalog, bucket, 1)))
    return found


def orders(count: int, **variables: str) -> dict[str, Any]:
    """Job variables of a run that builds so many orders."""
    return {"env": {"ORDERS": str(count), **variables}}


@contextmanager
def counting(shop: Release, catalog: PodPostgres, bucket: PodS3) -> Iterator[list[list[int]]]:
    """Have a reader count again and again; what it counted is there after the block, without one error."""
    command = ["kubectl", "--kubeconfig", str(shop.cluster.kubeconfig)]
    counted: list[list[int]] = []
    with subprocess.Popen(
        [*command, *reader_command(shop, catalog, bucket, 1_000_000)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as reader:
        try:
            yield counted
            assert reader.poll() is None, reader.communicate()[1]
        finally:
            reader.terminate()
            said, errors = reader.communicate(timeout=30)
    counted += [json.loads(line) for line in said.splitlines() if line.endswith("]")]
    assert "Error" not in errors


def test_the_four_flows_complete_and_another_machine_reads_what_they_built(
    shop: Release, catalog: PodPostgres, bucket: PodS3
) -> None:
    for deployment in (BUILD, SMOKE, FRESHNESS):
        shop.prefect.completed(deployment)
    request = {"command": "run", "select": ["facts"], "full_refresh": True}
    run = shop.prefect.ended(shop.prefect.start_with(RUN, {"request": request}))

    assert run["state"]["name"] == "Completed", shop.prefect.page(run["id"])
    assert read(shop, catalog, bucket) == [1000] * 4
    assert ".parquet" in bucket.shell(f"find /data/{s3.BUCKET}/shop -type f")


def test_readers_see_whole_builds_only_whatever_becomes_of_the_runs(
    shop: Release, catalog: PodPostgres, bucket: PodS3
) -> None:
    with counting(shop, catalog, bucket) as counted:
        shop.prefect.completed(BUILD, **orders(11))
        failed = shop.prefect.ended(shop.prefect.start(BUILD, **orders(12, FAILS="true")))
        run = shop.prefect.start(BUILD, **orders(13, ROUNDS="300"))
        shop.prefect.logged(run, "START sql table model main.slow", 120)
        killed = kill_dbt(shop, run)
        ended = shop.prefect.ended(run, 240)
        shop.prefect.completed(BUILD, **orders(14))

    assert failed["state"]["name"] == "Failed"
    assert killed
    assert ended["state"]["name"] in ("Completed", "Failed"), shop.prefect.page(run)
    whole = [[count] * 4 for count in (1000, 11, 13, 14)]
    assert [each for each in counted if each not in whole] == []
    assert [11] * 4 in counted
    assert read(shop, catalog, bucket) == [14] * 4


def test_a_server_that_crashes_in_a_model_is_waited_for(shop: Release, catalog: PodPostgres, bucket: PodS3) -> None:
    run = shop.prefect.start(BUILD, **orders(15, ROUNDS="300"))
    shop.prefect.logged(run, "START sql table model main.slow", 120)

    catalog.crash()
    ended = shop.prefect.ended(run, 300)

    assert ended["state"]["name"] == "Completed", shop.prefect.page(run)
    assert len(shop.pods_of(run)) == 1
    assert read(shop, catalog, bucket) == [15] * 4


def test_a_run_waits_while_another_one_writes(shop: Release, catalog: PodPostgres, bucket: PodS3) -> None:
    first = shop.prefect.start(BUILD, **orders(16, ROUNDS="300"))
    shop.prefect.logged(first, "START sql table model main.slow", 120)
    second = shop.prefect.start(BUILD, **orders(17))
    runs = [shop.prefect.ended(run, 240) for run in (first, second)]

    assert [run["state"]["name"] for run in runs] == ["Completed"] * 2
    assert runs[1]["start_time"] > runs[0]["end_time"]
    assert read(shop, catalog, bucket) == [17] * 4


def test_a_rollback_is_what_readers_see(shop: Release, catalog: PodPostgres, bucket: PodS3) -> None:
    shop.prefect.completed(BUILD, **orders(18))
    shop.prefect.completed(BUILD, **orders(19))
    name = f"{NAME}-dbtpod"
    shop.kubectl("create", "job", "warehouse", f"--from=cronjob/{name}-warehouse")
    shop.kubectl("wait", "pod", "--selector=job-name=warehouse", "--for=condition=Ready", "--timeout=90s")

    listed = shop.kubectl("exec", "job/warehouse", "--", "dbtpod", "generations", "list")
    current = next(int(line.split()[1]) for line in listed.splitlines() if line.startswith("*"))
    said = shop.kubectl("exec", "job/warehouse", "--", "dbtpod", "generations", "rollback", str(current - 1))
    checked = shop.kubectl("exec", "job/warehouse", "--", "dbtpod", "generations", "check")

    assert f"Readers now see generation {current - 1}" in said
    assert read(shop, catalog, bucket) == [18] * 4
    assert "Damaged" not in checked
    shop.kubectl("delete", "job", "warehouse")


def test_nothing_secret_is_in_a_runs_log_or_parameters(shop: Release) -> None:
    runs = shop.prefect.all("flow_runs")

    text = json.dumps([[shop.prefect.log(run["id"]), run["parameters"], run["job_variables"]] for run in runs])

    assert len(runs) > 3
    assert PASSWORD not in text
    assert s3.SECRET not in text
