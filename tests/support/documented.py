"""A dbt project with one of each thing that docs and lineage meet, built by the real dbt and published."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import duckdb

import warehouse
from dbtpod.dbt import process
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.warehouse import DuckDBFile
from own_projects import Files, write

# Ends a script where it is not escaped, and then changes the title.
NASTY = "</script><script>document.title = 'broken out'</script><!-- <script> & \\u2028 \" ' ` ${x}"

FILES: Files = {
    "dbt_project.yml": """
name: shop
profile: shop
flags: {send_anonymous_usage_stats: false}
models: {+materialized: table}
""",
    "profiles.yml": """
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: "{{ env_var('DUCKDB_PATH') }}", threads: 2}
""",
    "seeds/raw_orders.csv": "id,customer,amount,note\n1,ann,10,x\n2,bob,20,y\n3,ann,30,z\n",
    "models/sources.yml": """
sources:
  - name: raw
    tables:
      - name: payments
        identifier: Payments 2024
        quoting: {identifier: true}
      - name: files
        config: {meta: {external_location: "read_csv('FILES')"}}
""",
    "models/_models.yml": f"""
models:
  - name: stg_orders
    description: >-
      {NASTY}
    config: {{persist_docs: {{relation: true, columns: true}}}}
    columns:
      - name: order_id
        description: "The key. {NASTY.replace(chr(92), chr(92) * 2).replace(chr(34), chr(92) + chr(34))}"
  - name: sales
    description: "MANIFEST.JSON INLINE DATA"
  - name: unioned
    description: "CATALOG.JSON INLINE DATA"
""",
    "models/stg_orders.sql": """
select id as order_id, customer, amount as "Order Total", amount * 2 as double_amount from {{ ref('raw_orders') }}
""",
    "models/sales.sql": """
{{ config(alias='Sales By Customer', schema='mart', materialized='view') }}
with orders as (select * from {{ ref('stg_orders') }}),
paid as (select order_id, sum(amount) as paid from {{ source('raw', 'payments') }} group by order_id)
select orders.customer, sum(orders."order total") as "Total", max(paid.paid) as paid, count(*) as orders, 1 + 1
from orders left join paid using (order_id) group by all
""",
    "models/paid_orders.sql": """
{{ config(materialized='ephemeral') }}
select *, amount / 2 as "Half" from {{ ref('cheap_orders') }} where amount > 0
""",
    "models/cheap_orders.sql": """
{{ config(materialized='ephemeral') }}
select id, amount from {{ ref('raw_orders') }} where amount < 1000
""",
    "models/ephemeral_reader.sql": """
with mine as (select * from {{ ref('paid_orders') }})
select mine.id, mine."Half" as half, cheap.amount
from mine join {{ ref('cheap_orders') }} as cheap on mine.id = cheap.id
""",
    "models/unioned.sql": """
select order_id as id, customer as who from {{ ref('stg_orders') }}
union all
select id, "Half"::varchar from {{ ref('paid_orders') }}
""",
    "models/windowed.sql": """
select order_id, row_number() over (partition by customer order by double_amount) as place,
    (select max(paid) from {{ ref('sales') }}) as most
from {{ ref('stg_orders') }} qualify place = 1
""",
    "models/starred.sql": """
select * exclude (note), note || '!' as note from {{ ref('raw_orders') }}
""",
    "models/of_alias.sql": "select customer, \"total\" as sum_of_all from {{ ref('sales') }}",
    "models/grown.sql": """
{{ config(materialized='incremental', unique_key='order_id') }}
select order_id, customer from {{ ref('stg_orders') }}
{% if is_incremental() %} where order_id > (select max(order_id) from {{ this }}) {% endif %}
""",
    "models/recursive.sql": """
with recursive up as (
    select order_id, 1 as n from {{ ref('stg_orders') }} union all select order_id, n + 1 from up where n < 3
) select * from up
""",
    "models/by_name.sql": """
select order_id, customer from {{ ref('stg_orders') }}
union all by name select customer, order_id from {{ ref('grown') }}
""",
    "models/pivoted.sql": "pivot {{ ref('raw_orders') }} on customer using sum(amount) group by note",
    "models/of_files.sql": "select a, b from {{ source('raw', 'files') }}",
    "models/all_of_a_file.sql": "select * from read_csv('FILES')",
    "models/of_no_node.sql": "select * from hidden.orders",
    "models/of_python.py": "def model(dbt, session):\n    return dbt.ref('stg_orders').project('order_id')\n",
    "snapshots/kept.yml": """
snapshots:
  - name: kept
    relation: ref('stg_orders')
    config: {unique_key: order_id, strategy: check, check_cols: all}
""",
    "models/schema_tests.yml": """
models:
  - name: starred
    columns: [{name: id, data_tests: [unique]}]
""",
}


@dataclass(frozen=True)
class Documented:
    """The project, its volume, and the generation of its build."""

    kept: DuckDBFile
    project: Path
    generation: Generation


def build(folder: Path) -> Documented:
    """Build all of it and publish it as dbtpod does, with dbt's artifacts in the run's folder."""
    kept = warehouse.new(folder / "volume")
    kept.volume.work.mkdir(parents=True)
    rows = folder / "files.csv"
    rows.write_text("a,b\n1,2\n")
    write(folder / "project", {name: text.replace("FILES", str(rows)) for name, text in FILES.items()})
    with duckdb.connect(kept.volume.database) as connection:
        connection.execute(
            'CREATE SCHEMA raw; CREATE TABLE raw."Payments 2024" (order_id INTEGER, Amount DECIMAL(9, 2))'
        )
        connection.execute("CREATE SCHEMA hidden; CREATE TABLE hidden.orders AS SELECT 1 AS id")
    with warehouse.alone(kept):
        kept.publisher.import_database()
    project = folder / "project"
    return Documented(kept, project, publish(kept, project, "run-1", "build"))


def check_out(shop: Documented) -> None:
    """Make a working copy of what is published, of no run."""
    warehouse.check_out(shop.kept, "no run")


def publish(kept: DuckDBFile, project: Path, run_id: str, *args: str) -> Generation:
    """Run a dbt command on a working copy, and publish that."""
    warehouse.check_out(kept, run_id)
    target = kept.volume.runs / run_id / "1" / "attempt-1"
    dbt(kept, project, target, *args)
    return warehouse.publish_as(kept, run_id, (target / "manifest.json", target / "run_results.json"))


def dbt(kept: DuckDBFile, project: Path, target: Path, *args: str) -> None:
    """Run dbt on the working copy."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DBT")} | {
        "DUCKDB_PATH": str(kept.volume.database),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target),
        "DBT_PROFILES_DIR": str(project),
    }
    done = subprocess.run(
        [process.executable(), *args], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
