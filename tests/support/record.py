"""Run dbt on small projects and keep what it wrote in tests/support/data: `python tests/support/record.py [name ...]`.

`<name>.jsonl` is dbt's output with its exit code in the last line, `<name>.json` is the artifact that it wrote,
run_results.json or sources.json. To keep them small these are left out: debug events other than NodeFinished (and
NodeStart in `success`), blank lines, and in all of them the fields in NOISE.
The project's folder reads /project and Python's /venv. The tests expect these very runs: after recording with another
dbt, run them and read the difference. `dbt-1.11/` has some that dbt 1.11.16 wrote.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, SIGKILL, Signals
from threading import Timer
from typing import Any

import duckdb

DATA = Path(__file__).parent / "data"
DBT = Path(sys.executable).with_name("dbt")
LOGGING = ("--log-format", "json", "--log-level", "debug")
Files = Mapping[str, str]
NOISE = (
    "node_checksum",
    "node_path",
    "meta",
    "category",
    "code",
    "extra",
    "pid",
    "thread",
    "timing_info",
    "timing",
    "thread_id",
    "args",
    "overload_results",
    "stack_trace",
    "env",
)

PROJECT = {
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
    dev: {type: duckdb, path: shop.duckdb, threads: 1}
""",
}
ORDERS = {
    "seeds/raw_orders.csv": "id,customer,amount\n1,ann,10\n2,bob,20\n3,ann,30\n",
    "models/stg_orders.sql": "select id, customer, amount from {{ ref('raw_orders') }}",
}
FCT = "select customer, sum({column}) as amount from {{{{ ref('stg_orders') }}}} group by customer"
SUCCESS = ORDERS | {
    "models/big_orders.sql": (
        "{{ config(materialized='ephemeral') }} select * from {{ ref('stg_orders') }} where amount > 15"
    ),
    "models/fct_orders.sql": "select customer, count(*) as orders from {{ ref('big_orders') }} group by customer",
    "models/shop.yml": """
models:
  - name: stg_orders
    columns: [{name: id, data_tests: [not_null]}]
unit_tests:
  - name: big_orders_only
    model: fct_orders
    given: [{input: ref('big_orders'), format: sql, rows: "select 'ann' as customer"}]  # dbt: sql for ephemeral
    expect: {rows: [{customer: ann, orders: 1}]}
exposures:
  - {name: dashboard, type: dashboard, owner: {name: Ann}, depends_on: [ref('fct_orders')]}
""",
    "snapshots/orders_history.yml": """
snapshots:
  - name: orders_history
    relation: ref('stg_orders')
    config: {strategy: check, unique_key: id, check_cols: [amount]}
""",
    "dbt_project.yml": PROJECT["dbt_project.yml"]
    + 'on-run-start: ["create schema if not exists audit"]\non-run-end: ["select 1"]\n',
}
FAILED_MODEL = ORDERS | {
    "models/fct_orders.sql": FCT.format(column="amout"),
    "models/rich.sql": "{{ config(materialized='ephemeral') }} select * from {{ ref('fct_orders') }} where amount > 1",
    "models/rich_customers.sql": "select customer from {{ ref('rich') }}",
    "models/top_customer.sql": "select max(customer) as customer from {{ ref('fct_orders') }}",
    "models/shop.yml": """
models:
  - name: top_customer
    columns: [{name: customer, data_tests: [not_null]}]
""",
}
FAILED_TEST = ORDERS | {
    "models/fct_orders.sql": FCT.format(column="amount"),
    "models/shop.yml": """
models:
  - name: stg_orders
    columns:
      - name: customer
        data_tests:
          - unique
          - accepted_values: {name: only_ann, arguments: {values: [ann]}, config: {severity: warn}}
""",
}
FAILED_UNIT_TEST = FAILED_TEST | {
    "models/shop.yml": """
unit_tests:
  - name: sums_amounts
    model: fct_orders
    given: [{input: ref('stg_orders'), rows: [{customer: ann, amount: 20}]}]
    expect: {rows: [{customer: ann, amount: 21}]}
"""
}
WARNING_TEST = FAILED_TEST | {
    "models/shop.yml": """
models:
  - name: stg_orders
    columns: [{name: customer, data_tests: [{unique: {config: {severity: warn}}}]}]
"""
}
SLOW = ORDERS | {
    "models/slow.sql": "select count(*) as n from {{ ref('stg_orders') }}, range(1000000000) a, range(1000000) b",
    "models/after_slow.sql": "select * from {{ ref('slow') }}",
}
# Hourly events of four days; what is in `daily` fails for the second day.
MICROBATCH = {
    "models/events.sql": (
        "{{ config(event_time='ts') }} "
        "select range as id, timestamp '2026-01-01' + to_hours(range) as ts from range(96)"
    ),
    "models/daily.sql": """
{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='ts', batch_size='day',
          begin='2026-01-01', concurrent_batches=false) }}
select id, ts, cast(case when day(ts) = 2 then 'x' else '1' end as integer) as n from {{ ref('events') }}
""",
    "models/after_daily.sql": "select * from {{ ref('daily') }}",
}
MICROBATCH_DAYS = ("--event-time-start", "2026-01-01", "--event-time-end", "2026-01-05")
# More failures than dbt's log can count.
LEDGER = {
    "models/ledger.sql": "select 1 as id, 5000000000 as off_by",
    "tests/warns.sql": (
        "{{ config(severity='warn', fail_calc='sum(off_by)') }} select off_by from {{ ref('ledger') }}"
    ),
    "tests/fails.sql": "{{ config(fail_calc='sum(off_by)', store_failures=true) }} select * from {{ ref('ledger') }}",
}
OPERATION = {"macros/boom.sql": "{% macro boom() %}{% do run_query('select * from nowhere') %}{% endmacro %}"}
SOURCES = {
    "models/sources.yml": """
sources:
  - name: raw
    schema: main
    config:
      loaded_at_field: loaded_at
      freshness: {warn_after: {count: 24, period: hour}, error_after: {count: 3, period: day}}
    tables: [{name: fresh}, {name: late}, {name: stale}, {name: missing}]
"""
}
LOADED_AT = "create view {name} as select now() at time zone 'utc' - interval {minutes} minute as loaded_at"


@dataclass(frozen=True)
class Scenario:
    """One run of dbt to record; what `before` sets up lasts while dbt runs."""

    files: Files
    args: tuple[str, ...] = ("build",)
    before: Callable[[Path], Iterator[None]] | None = None
    # The model that runs when dbt gets the signal.
    kill: tuple[str, Signals] | None = None
    flags: tuple[str, ...] = field(default=())


def _sources(project: Path) -> Iterator[None]:
    with duckdb.connect(str(project / "shop.duckdb")) as connection:
        for name, minutes in (("fresh", 30), ("late", 30 * 60 + 5), ("stale", 100 * 60)):
            connection.execute(LOADED_AT.format(name=name, minutes=minutes))
    yield


def _locked(project: Path) -> Iterator[None]:
    code = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(project / "shop.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin and holder.stdout
        holder.stdout.readline()
        yield
        holder.stdin.close()


def _failed_before(project: Path) -> Iterator[None]:
    subprocess.run([DBT, "build"], cwd=project, env=_environment(), capture_output=True, timeout=120)
    (project / "models/fct_orders.sql").write_text(FCT.format(column="amount"))
    yield


SCENARIOS = {
    "success": Scenario(SUCCESS),
    "failed_model": Scenario(FAILED_MODEL),
    "retry": Scenario(FAILED_MODEL, ("retry",), before=_failed_before),
    "failed_test": Scenario(FAILED_TEST),
    "failed_unit_test": Scenario(FAILED_UNIT_TEST),
    "warning_test": Scenario(WARNING_TEST),
    "fail_fast": Scenario(FAILED_MODEL, ("build", "--fail-fast")),
    "failed_hook": Scenario(
        ORDERS | {"dbt_project.yml": PROJECT["dbt_project.yml"] + 'on-run-start: ["select * from nowhere"]\n'}
    ),
    "freshness_warn": Scenario(
        SOURCES, ("source", "freshness", "--select", "source:raw.fresh", "source:raw.late"), before=_sources
    ),
    "freshness_error": Scenario(SOURCES, ("source", "freshness"), before=_sources),
    "no_partial_parse": Scenario(ORDERS, ("seed",), flags=("--no-partial-parse",)),
    "compile_error": Scenario(ORDERS | {"models/bad.sql": "select * from {{ ref('nowhere') }}"}),
    "no_profile": Scenario(ORDERS | {"profiles.yml": "other: {}\n"}),
    "locked": Scenario(ORDERS, before=_locked),
    "microbatch": Scenario(MICROBATCH, ("build", *MICROBATCH_DAYS)),
    "ledger": Scenario(LEDGER),
    "failed_operation": Scenario(ORDERS | OPERATION, ("run-operation", "boom")),
    "interrupted": Scenario(SLOW, kill=("slow", SIGINT)),
    "killed": Scenario(SLOW, kill=("slow", SIGKILL)),
}


def load(name: str) -> tuple[list[str], int]:
    """The recorded lines of a run, and its exit code."""
    *lines, last = (DATA / f"{name}.jsonl").read_text().splitlines()
    return lines, json.loads(last)["exit_code"]


def run(scenario: Scenario, project: Path) -> tuple[list[str], int]:
    """Run dbt in the folder; its output, stderr included, and its exit code, negative for a signal."""
    for path, text in (PROJECT | dict(scenario.files)).items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    command = [str(DBT), *LOGGING, *scenario.flags, *scenario.args]
    with (
        contextmanager(scenario.before or _nothing)(project),
        subprocess.Popen(
            command, cwd=project, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as dbt,
    ):
        assert dbt.stdout
        lines = []
        limit = Timer(120, dbt.kill)
        limit.start()
        for line in dbt.stdout:
            lines.append(
                line.rstrip("\n")
                .replace(str(project), "/project")
                .replace(sys.prefix, "/venv")
                .replace(sys.base_prefix, "/python")
            )
            if scenario.kill and '"NodeExecuting"' in line and f".{scenario.kill[0]}" in line:
                # An interrupt that comes before the query has begun is lost: dbt then waits for the query's end.
                Timer(1, dbt.send_signal, [scenario.kill[1]]).start()
        limit.cancel()
        return lines, dbt.wait()


def _nothing(_: Path) -> Iterator[None]:
    yield


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBT_", "PYTHONPATH"))}
    return kept | {"DBT_PROFILES_DIR": "."}


def _kept(line: str, name: str) -> str | None:
    try:
        record = _quiet(line)
    except ValueError:
        return line
    info = record["info"]
    kept = info["msg"] and (info["level"] != "debug" or info["name"] in ("NodeFinished", "NodeStart"))
    return _short(record) if kept and (name == "success" or info["name"] != "NodeStart") else None


def _short(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _quiet(text: str) -> Any:
    return json.loads(text, object_hook=lambda fields: {key: v for key, v in fields.items() if key not in NOISE})


def _record(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="dbtpod-record-") as folder:
        project = Path(folder).resolve()
        lines, exit_code = run(SCENARIOS[name], project)
        log = [*filter(None, (_kept(line, name) for line in lines)), json.dumps({"exit_code": exit_code})]
        (DATA / f"{name}.jsonl").write_text("\n".join(log) + "\n")
        (DATA / f"{name}.json").unlink(missing_ok=True)
        for file_name in ("run_results.json", "sources.json"):
            if (project / "target" / file_name).exists():
                artifact = (project / "target" / file_name).read_text().replace(folder, "/project")
                (DATA / f"{name}.json").write_text(_short(_quiet(artifact)) + "\n")


if __name__ == "__main__":
    for chosen in sys.argv[1:] or SCENARIOS:
        _record(chosen)
