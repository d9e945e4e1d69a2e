"""A volume as a reader finds it: published generations of a small shop, and a history of hourly runs."""

import json
import random
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

import warehouse
from dbtpod.history import schema
from dbtpod.warehouse.database import quoted
from dbtpod.warehouse.warehouse import DuckDBFile

# Breaks out of an element, an attribute, a script, where it is not escaped.
NASTY = "</script><script>document.title='broken out'</script><img src=x onerror=\"document.title='broken out'\">'&amp;"
NASTY_ID = "model.shop.a <b>/\"'&?#%;ü"
END = datetime(2026, 11, 27, 2, 0, tzinfo=UTC)
Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Step:
    """A node, and how long it takes."""

    id: str
    seconds: float
    parents: tuple[str, ...] = ()
    rows: int | None = None
    columns: tuple[str, ...] = ("id", "amount")

    @property
    def kind(self) -> str:
        return self.id.split(".", 1)[0]

    @property
    def name(self) -> str:
        return self.id.split(".", 2)[2]


STEPS = (
    Step("seed.shop.raw_customers", 0.4, (), 935),
    Step("seed.shop.raw_orders", 0.9, (), 61_948),
    Step("seed.shop.raw_payments", 0.8, (), 65_210),
    Step("model.shop.stg_customers", 1.2, ("seed.shop.raw_customers",), 935),
    Step("model.shop.stg_orders", 3.1, ("seed.shop.raw_orders",), 61_948),
    Step("model.shop.stg_payments", 2.2, ("seed.shop.raw_payments",), 65_210),
    Step("snapshot.shop.customers_snapshot", 1.7, ("model.shop.stg_customers",), 1_204),
    Step("model.shop.int_order_payments", 5.4, ("model.shop.stg_orders", "model.shop.stg_payments"), 61_948),
    Step("model.shop.dim_customers", 4.6, ("model.shop.stg_customers", "model.shop.int_order_payments"), 935),
    Step("model.shop.fct_orders", 9.8, ("model.shop.int_order_payments", "model.shop.dim_customers"), 61_948),
    Step("model.shop.fct_daily_revenue", 3.9, ("model.shop.fct_orders",), 1_096),
    Step("model.shop.rpt_cohorts", 6.3, ("model.shop.fct_orders", "model.shop.dim_customers"), 480),
)
TESTED = tuple(step for step in STEPS if step.kind == "model")


@dataclass
class Story:
    """What happens in the runs, counted from the last one, which is 0."""

    runs: int = 120
    steps: Sequence[Step] = STEPS
    # A node's name, by run: it fails there.
    fails: Mapping[int, str] = field(default_factory=dict)
    slow: Mapping[int, str] = field(default_factory=dict)
    flaky: str = "not_null_stg_payments_id"
    published: int = 6
    crashed: Sequence[int] = ()
    end: datetime = END


def run_id(back: int) -> str:
    """Return the id of a run."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"run {back}"))


def volume(folder: Path, story: Story | None = None, history: bool = True) -> DuckDBFile:
    """Publish the last generations of the story, each with its manifest, and write the history of all runs."""
    chosen = story or Story()
    root = folder / "volume"
    root.mkdir()
    kept = warehouse.new(root, keep=chosen.published)
    artifact = folder / "manifest.json"
    completed = _completed(chosen)[-chosen.published :]
    # As if those before had been there.
    earlier = kept.volume.aside / f"x-published-{len(_completed(chosen)) - len(completed):06d}"
    earlier.mkdir(parents=True)
    for back in completed:
        warehouse.check_out(kept, run_id(back))
        with duckdb.connect(kept.volume.database) as connection:
            for step in chosen.steps:
                rows = (step.rows or 10) // 50 - 7 * back
                columns = ", ".join(f"range * {n + 1} AS {quoted(one)}" for n, one in enumerate(step.columns))
                table = quoted(step.name)
                connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT {columns} FROM range({max(1, rows)})")
        artifact.write_text(json.dumps(manifest(chosen.steps)))
        made = warehouse.publish_as(kept, run_id(back), (artifact,))
        facts = made.database.with_name("generation.json")
        at = chosen.end - timedelta(hours=back, seconds=-90)
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"at": at.isoformat()}))
    earlier.rmdir()
    kept.volume.aside.rmdir()
    if history:
        write_history(kept, chosen)
    return kept


def write_history(kept: DuckDBFile, story: Story) -> None:
    """Write the history file of the volume."""
    path = kept.volume.root / "history" / schema.FILE
    newest = kept.builds()[-1].database.with_name(schema.FILE)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    rows = rows_of(story)
    with duckdb.connect(path) as connection:
        connection.execute(schema.tables())
        connection.execute(schema.views())
        for table, columns in schema.TABLES.items():
            lines = path.with_name("rows.json")
            lines.write_text("\n".join(json.dumps(row, default=datetime.isoformat) for row in rows[table]) or "\n")
            kinds = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
            connection.execute(
                f"INSERT INTO {table} BY NAME SELECT * FROM read_json('{lines}', format='newline_delimited', "
                f"columns={{{kinds}}})"
            )
            lines.unlink()
    shutil.copy(path, newest)


def rows_of(story: Story) -> Rows:
    """Return the rows of every table."""
    chance = random.Random(7)  # noqa: S311
    rows: Rows = {table: [] for table in schema.TABLES}
    for back in reversed(range(story.runs)):
        _tell(story, back, chance, rows)
    return rows


def _completed(story: Story) -> list[int]:
    """Return the runs that published, the oldest first."""
    return [
        back
        for back in reversed(range(story.runs))
        if back not in story.fails and back not in story.crashed and not _is_flaky(back)
    ]


def _is_flaky(back: int) -> bool:
    return 0 < back < 20 and back % 5 == 0


def _tell(story: Story, back: int, chance: random.Random, rows: Rows) -> None:
    begin = story.end - timedelta(hours=back, seconds=-chance.uniform(4, 30))
    identity = run_id(back)
    nodes = list(_executed(story, back, begin, chance))
    end = max(one["started"] + timedelta(seconds=one["seconds"]) for one in nodes if one["started"])
    bad = [one for one in nodes if one["status"] in ("error", "fail")]
    state = "crashed" if back in story.crashed else "failed" if bad else "completed"
    completed = _completed(story)
    generation = completed.index(back) + 1 if back in completed else len([one for one in completed if one > back]) + 1
    words = (["silver", "amber", "quiet", "brisk", "mellow", "lucid"], ["otter", "falcon", "lynx", "heron", "crane"])
    rows["runs"].append(
        {
            "run_id": identity,
            "name": "-".join(map(chance.choice, words)),
            "flow": "dbt-build",
            "deployment": "build-hourly",
            "started": begin,
            "ended": end + timedelta(seconds=3),
            "state": state,
            "message": f"dbt build failed: {len(bad)} error. {bad[0]['name']}: {bad[0]['message']}" if bad else None,
            "generation": generation if state == "completed" else None,
            "base": generation - 1 or None,
            "only_reads": False,
            "starts": 2 if back in story.crashed else 1,
            "pod_seconds": (end - begin).total_seconds() + 11,
            "dbtpod": "0.1.0",
            "dbt": "1.12.6",
        }
    )
    rows["commands"].append(
        {
            "run_id": identity,
            "number": 1,
            "attempt": 1,
            "args": "dbt build",
            "started": begin,
            "seconds": (end - begin).total_seconds(),
            "exit_code": 1 if bad else 0,
            "invocation_id": identity,
        }
    )
    for one in nodes:
        table = "tests" if one["kind"] == "test" else "nodes"
        kept = {name: one[name] for name in schema.TABLES[table] if name in one}
        rows[table].append({"run_id": identity, "command": 1, "attempt": 1} | kept)
    rows["source_checks"].append(
        {
            "run_id": identity,
            "command": 1,
            "attempt": 1,
            "node_id": "source.shop.crm.customers",
            "name": "crm.customers",
            "status": "pass",
            "loaded_at": begin - timedelta(minutes=17),
            "checked_at": begin,
            "age_seconds": 1020.0,
        }
    )
    if state == "completed":
        for step in story.steps:
            count = max(1, (step.rows or 10) - 7 * back)
            rows["relations"].append(
                {
                    "generation": generation,
                    "run_id": identity,
                    "at": end,
                    "schema": "main",
                    "name": step.name,
                    "kind": "table",
                    "rows": count,
                    "bytes": count * 48,
                }
            )


def _executed(story: Story, back: int, begin: datetime, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Execute the nodes in order on four threads, each followed by its test, as dbt does."""
    free = {f"Thread-{n}": begin + timedelta(seconds=1) for n in range(1, 5)}
    done: dict[str, datetime] = {}
    lost: set[str] = set()
    for step in story.steps:
        if lost & set(step.parents):
            lost.add(step.id)
            yield _node(step.id, step.kind, step.name, "skipped", None, 0.0, None, None, None)
            continue
        ready = max([done[parent] for parent in step.parents], default=begin)
        thread = min(free, key=lambda name: max(free[name], ready))
        start = max(free[thread], ready)
        seconds = step.seconds * chance.uniform(0.85, 1.2) * (2.6 if story.slow.get(back) == step.name else 1)
        fails = story.fails.get(back) == step.name
        message = 'Binder Error: Referenced column "amout" not found in FROM clause!' if fails else None
        status = "error" if fails else "success"
        yield _node(step.id, step.kind, step.name, status, start, seconds, thread, step.rows, message)
        free[thread] = start + timedelta(seconds=seconds)
        done[step.id] = free[thread]
        if fails:
            lost.add(step.id)
            continue
        for kind in ("not_null", "unique") if step in TESTED or step not in STEPS else ():
            test = f"{kind}_{step.name}_id"
            thread = min(free, key=lambda name: max(free[name], done[step.id]))
            at = max(free[thread], done[step.id])
            took = chance.uniform(0.15, 0.6)
            broken = test == story.flaky and _is_flaky(back)
            said = "Got 3 results, configured to warn if != 0" if broken else None
            word = "fail" if broken else "pass"
            one = _node(id_of_test(test), "test", test, word, at, took, thread, None, said)
            yield one | {"failures": 3 if broken else 0}
            free[thread] = at + timedelta(seconds=took)


def _node(node_id: str, kind: str, name: str, status: str, *rest: object) -> dict[str, Any]:
    names = ("started", "seconds", "thread", "rows", "message")
    return {"node_id": node_id, "kind": kind, "name": name, "status": status} | dict(zip(names, rest, strict=True))


def id_of_test(name: str) -> str:
    """Return the id of a test, with its hash."""
    return f"test.shop.{name}.{uuid.uuid5(uuid.NAMESPACE_OID, name).hex[:10]}"


def manifest(steps: Sequence[Step]) -> dict[str, Any]:
    """Return what dbt's manifest says of them, as far as it is read here."""
    nodes = {step.id: _in_manifest(step) for step in steps}
    for step in steps:
        if step.kind == "model":
            for kind in ("not_null", "unique"):
                name = f"{kind}_{step.name}_id"
                nodes[id_of_test(name)] = {
                    "resource_type": "test",
                    "name": name,
                    "alias": name,
                    "schema": "main_dbt_test__audit",
                    "description": "",
                    "columns": {},
                    "raw_code": f"{{{{ test_{kind}(**_dbt_generic_test_kwargs) }}}}",
                    "compiled_code": f"select id from main.{step.name} where id is null",
                    "original_file_path": "models/_models.yml",
                    "config": {"materialized": "test"},
                    "depends_on": {"nodes": [step.id]},
                    "attached_node": step.id,
                    "column_name": "id",
                }
    source = {
        "resource_type": "source",
        "name": "customers",
        "source_name": "crm",
        "identifier": "customers",
        "schema": "crm",
        "description": "Customers, as the CRM exports them every hour.",
        "columns": {},
        "original_file_path": "models/_sources.yml",
        "config": {},
    }
    return {
        "metadata": {"adapter_type": "duckdb", "project_name": "shop"},
        "nodes": nodes,
        "sources": {"source.shop.crm.customers": source},
        "unit_tests": {},
        "exposures": {},
    }


def _in_manifest(step: Step) -> dict[str, Any]:
    parents = ", ".join(f"{{{{ ref('{parent.split('.')[-1]}') }}}}" for parent in step.parents)
    compiled = ", ".join(f'"warehouse"."main"."{parent.split(".")[-1]}"' for parent in step.parents)
    return {
        "resource_type": step.kind,
        "language": "sql",
        "name": step.name,
        "alias": step.name,
        "database": "warehouse",
        "schema": "main",
        "description": f"{step.name.replace('_', ' ').capitalize()}; one row for each {step.columns[0]}.",
        "columns": {step.columns[0]: {"name": step.columns[0], "description": "The key.", "data_type": None}},
        "raw_code": f"select id, amount\nfrom {parents}" if step.parents else "",
        "compiled_code": f"select id, amount\nfrom {compiled}" if step.parents else "",
        "original_file_path": f"models/{step.name}.sql",
        "config": {"materialized": "table" if step.kind == "model" else step.kind},
        "tags": ["daily"],
        "depends_on": {"nodes": list(step.parents)},
    }
