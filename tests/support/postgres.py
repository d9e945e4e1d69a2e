"""A real PostgreSQL in a container, for tests; and a small dbt project on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg2  # type: ignore[import-untyped]

import containers
from prefect_server import free_port
from waiting import until

IMAGE = "postgres:17"
PASSWORD = "s3cret"

PROFILE = """
shop:
  target: dev
  outputs:
    dev:
      type: postgres
      host: "{{ env_var('SHOP_HOST') }}"
      port: "{{ env_var('SHOP_PORT') | int }}"
      user: postgres
      password: "{{ env_var('SHOP_PASSWORD') }}"
      dbname: postgres
      schema: "{{ env_var('SHOP_SCHEMA') }}"
      threads: 2
"""
FILES = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {+materialized: table}\nseeds: {+schema: raw}\n",
    "profiles.yml": PROFILE,
    "selectors.yml": "selectors: [{name: smoke, definition: {method: fqn, value: stg_orders}}]\n",
    "seeds/orders.csv": "id,amount,loaded_at\n1,10,2026-01-01\n2,20,2026-01-02\n",
    "models/stg_orders.sql": "select id, amount from {{ source('raw', 'orders') }} -- depends on {{ ref('orders') }}",
    "models/totals.sql": "select count(*) as n, sum(amount) as amount from {{ ref('stg_orders') }}",
    "models/facts.sql": """
{{ config(materialized='incremental', unique_key='id') }}
select id, amount, now() as built_at from {{ ref('stg_orders') }}
""",
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


@dataclass
class Postgres:
    """A server that can be stopped and started; its port stays the same."""

    container: str
    port: int

    def environment(self, schema: str) -> dict[str, str]:
        """Return what the profile of the project reads."""
        return {
            "SHOP_HOST": "127.0.0.1",
            "SHOP_PORT": str(self.port),
            "SHOP_PASSWORD": PASSWORD,
            "SHOP_SCHEMA": schema,
        }

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the answer to a query."""
        with self._cursor() as cursor:
            cursor.execute(sql)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def do(self, sql: str) -> None:
        """Run statements, and commit them."""
        with self._cursor() as cursor:
            cursor.execute(sql)

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=PASSWORD, dbname="postgres", connect_timeout=5
        )
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def kill(self) -> None:
        """End it as a lost machine does."""
        containers.docker("kill", self.container)

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        containers.docker("start", self.container)
        self.wait()

    def restart_slowly(self, seconds: int) -> None:
        """End it and start it again, and wait until it says that it is starting, which takes it so long."""
        once = f"test -e /tmp/started || {{ touch /tmp/started; sleep {seconds}; }}; false"
        settings = '"$PGDATA/postgresql.auto.conf"'
        script = f"rm -f /tmp/started; echo \"restore_command = '{once}'\" >> {settings}; touch $PGDATA/recovery.signal"
        containers.docker("exec", self.container, "sh", "-c", script)
        self.kill()
        containers.docker("start", self.container)
        until(self._is_starting, 30, "PostgreSQL that is starting")

    def _is_starting(self) -> bool:
        try:
            return not self.ask("select 1")
        except psycopg2.OperationalError as error:
            return "is starting up" in str(error)

    def wait(self) -> None:
        until(self._answers, 60, "PostgreSQL")

    def _answers(self) -> bool:
        try:
            return self.ask("select 1") == [(1,)]
        except psycopg2.OperationalError:
            return False


@contextmanager
def running() -> Iterator[Postgres]:
    """Run a server for a while; see `containers.started`."""
    port = free_port()
    options = ("--memory", "384m", "--env", f"POSTGRES_PASSWORD={PASSWORD}", "--publish", f"127.0.0.1:{port}:5432")
    with containers.started("PostgreSQL", IMAGE, options, "postgres", "-c", "fsync=off") as name:
        server = Postgres(name, port)
        server.wait()
        yield server
