"""The lineage of any SQL is an answer and never an exception, in the image too."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbtpod.docs import columns
from dbtpod.docs.tables import Column, Table
from rendering import ROOT

MODEL = "model.shop.made"
TABLE = Table(("w", "main", "orders"), None, 1, [Column("id", "INTEGER", None), Column("Name", "VARCHAR", None)])
DEMO = sorted((ROOT / "dbt_project" / "models").rglob("*.sql"))
SQL = """
with recursive a as (select id, "Name", row_number() over (partition by id order by "Name") as n from w.main.orders),
b as (select a.*, (select max(id) from w.main.orders as o where o.id = a.id) as m from a left join a as c using (id))
select * exclude (n), coalesce(m, 1)::decimal(12, 2) as "M", x -> x.y as f, unnest([1, 2]) as u from b
union all select id, "Name", 1, 2, 3 from a qualify n = 1 order by all limit 3
"""
WORDS = [*SQL.split(), "*", "(", ")", ";", "'", '"', "--", "/*", "{{", "values", "pivot", "from", "\x00", "\ud800", "é"]


def found(sql: str, tables: list[Table]) -> Any:
    place = {"database": "w", "schema": "main", "config": {}}
    nodes = {
        "seed.shop.orders": {**place, "resource_type": "seed", "name": "orders", "alias": "orders"},
        MODEL: {**place, "resource_type": "model", "name": "made", "alias": "made", "language": "sql"},
    }
    return columns.of({"nodes": nodes, "sources": {}}, {MODEL: sql}, tables)["nodes"][MODEL]


@example(words=["select"], is_there=False)
@given(st.lists(st.sampled_from(WORDS), max_size=40), st.booleans())
def test_no_words_in_any_order_are_an_exception(words: list[str], is_there: bool) -> None:
    one = found(" ".join(words), [TABLE] if is_there else [])

    assert one["columns"] or one["problem"]


@given(st.integers(0, len(SQL)), st.integers(0, 30), st.text(max_size=3))
def test_no_sql_with_a_part_replaced_is_an_exception(start: int, length: int, text: str) -> None:
    one = found(SQL[:start] + text + SQL[start + length :], [TABLE])

    assert one["columns"] or one["problem"]


@pytest.mark.parametrize("path", DEMO, ids=lambda path: path.stem)
def test_no_model_of_the_demo_is_an_exception_even_before_dbt_compiles_it(path: Path) -> None:
    one = found(path.read_text(), [TABLE])

    assert one["columns"] or one["problem"]


def test_sql_that_is_nested_too_deeply_is_a_problem() -> None:
    assert found("select " + "(" * 5000 + "1" + ")" * 5000, [])["problem"]


# Out of a call of the garbage collector, of hypothesis here.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sql_that_takes_too_long_is_a_problem_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "NODE_SECONDS", 0.2)
    many = ", ".join(f"a{n}.id as id{n}" for n in range(2000))
    joined = " ".join(f"join w.main.orders a{n} on true" for n in range(1, 2000))

    assert "longer" in found(f"select {many} from w.main.orders a0 {joined}", [TABLE])["problem"]
    assert found("select id from w.main.orders", [TABLE])["problem"] == ""


# As image/trim leaves it.
TRIMMED = """
import sys
from importlib.abc import MetaPathFinder

class Trimmed(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        parts = name.split(".")
        if parts[0] == "sqlglot" and len(parts) == 3 and parts[1] in ("dialects", "parsers", "generators"):
            if parts[2] not in ("base", "dialect", "duckdb"):
                raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Trimmed())
from dbtpod.docs import columns
place = {"database": "w", "schema": "main", "config": {}, "resource_type": "model", "language": "sql"}
nodes = {"model.s.made": {**place, "name": "made", "alias": "made"}}
sql = {"model.s.made": "with a as (select 1 as b, sum(2) over () as c) select *, b ->> '$.x' as d from a qualify c = 1"}
print(columns.of({"nodes": nodes, "sources": {}}, sql, []))
"""


def test_sqlglot_can_do_it_with_the_one_dialect_that_is_in_the_image() -> None:
    assert all(f"! -name {name}.py" in (ROOT / "image" / "trim").read_text() for name in ("dialect", "duckdb"))

    done = subprocess.run([sys.executable, "-c", TRIMMED], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == str(
        {"nodes": {"model.s.made": {"columns": {"b": [], "c": [], "d": []}, "problem": ""}}}
    ), done.stderr
