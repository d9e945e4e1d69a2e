"""The column lineage of a real project, model by model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import documented
from dbtpod.docs import make
from dbtpod.warehouse.facts import Generation
from documented import Documented

pytestmark = pytest.mark.xdist_group("documented")
STG, SALES, ORDERS = "model.shop.stg_orders", "model.shop.sales", "seed.shop.raw_orders"
PAID, CHEAP = "model.shop.paid_orders", "model.shop.cheap_orders"

# Each column with its parents, where all of it is known.
KNOWN: Mapping[str, Mapping[str, list[list[str]]]] = {
    STG: {
        "order_id": [[ORDERS, "id"]],
        "customer": [[ORDERS, "customer"]],
        "Order Total": [[ORDERS, "amount"]],
        "double_amount": [[ORDERS, "amount"]],
    },
    SALES: {
        "customer": [[STG, "customer"]],
        "Total": [[STG, "Order Total"]],
        "paid": [["source.shop.raw.payments", "Amount"]],
        "orders": [],
        "(1 + 1)": [],
    },
    "model.shop.of_alias": {"customer": [[SALES, "customer"]], "sum_of_all": [[SALES, "Total"]]},
    CHEAP: {"id": [[ORDERS, "id"]], "amount": [[ORDERS, "amount"]]},
    PAID: {"id": [[CHEAP, "id"]], "amount": [[CHEAP, "amount"]], "Half": [[CHEAP, "amount"]]},
    "model.shop.ephemeral_reader": {"id": [[PAID, "id"]], "half": [[PAID, "Half"]], "amount": [[CHEAP, "amount"]]},
    "model.shop.unioned": {
        "id": [[PAID, "id"], [STG, "order_id"]],
        "who": [[PAID, "Half"], [STG, "customer"]],
    },
    "model.shop.windowed": {
        "order_id": [[STG, "order_id"]],
        "place": [[STG, "customer"], [STG, "double_amount"]],
        "most": [[SALES, "paid"]],
    },
    "model.shop.starred": {
        "id": [[ORDERS, "id"]],
        "customer": [[ORDERS, "customer"]],
        "amount": [[ORDERS, "amount"]],
        "note": [[ORDERS, "note"]],
    },
    "model.shop.grown": {"order_id": [[STG, "order_id"]], "customer": [[STG, "customer"]]},
    "model.shop.recursive": {"order_id": [[STG, "order_id"]], "n": []},
    "model.shop.of_files": {"a": [["source.shop.raw.files", "a"]], "b": [["source.shop.raw.files", "b"]]},
    "snapshot.shop.kept": {name: [[STG, name]] for name in ("order_id", "customer", "Order Total", "double_amount")},
}
PROBLEMS = {
    "model.shop.of_python": "written in python",
    "model.shop.by_name": "UNION BY NAME",
    "model.shop.pivoted": "sqlglot cannot analyse its SQL: ",
    "model.shop.all_of_a_file": "Where these columns come from is not known: a, b.",
    "model.shop.of_no_node": "It reads what is no node of the project: warehouse.hidden.orders.",
}


def lineage(generation: Generation, folder: Path) -> dict[str, Any]:
    path = folder / "lineage.json"
    make.make(make.LINEAGE, generation.database, path)
    found: dict[str, Any] = json.loads(path.read_text())["nodes"]
    return found


@pytest.fixture(scope="module")
def nodes(shop: Documented, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return lineage(shop.generation, tmp_path_factory.mktemp("lineage"))


def test_every_model_and_snapshot_has_an_answer(nodes: dict[str, Any]) -> None:
    assert nodes.keys() == KNOWN.keys() | PROBLEMS.keys()


@pytest.mark.parametrize("node_id", KNOWN)
def test_the_parents_of_each_column_are_known(nodes: dict[str, Any], node_id: str) -> None:
    assert nodes[node_id] == {"columns": KNOWN[node_id], "problem": ""}


@pytest.mark.parametrize("node_id", PROBLEMS)
def test_what_cannot_be_analysed_says_so(nodes: dict[str, Any], node_id: str) -> None:
    assert PROBLEMS[node_id] in nodes[node_id]["problem"]
    assert not any(nodes[node_id]["columns"].values())


@pytest.mark.soak
def test_sql_that_this_build_did_not_compile_is_that_of_an_earlier_run(shop: Documented, tmp_path: Path) -> None:
    partly = documented.publish(shop.kept, shop.project, "run-2", "build", "--select", "stg_orders")
    compiled = json.loads(partly.database.with_name("manifest.json").read_text())["nodes"]
    assert [name for name, node in compiled.items() if node.get("compiled_code") and name.startswith("model")] == [STG]

    assert lineage(partly, tmp_path)["model.shop.windowed"]["columns"] == KNOWN["model.shop.windowed"]

    changed = shop.project / "models" / "windowed.sql"
    changed.write_text(changed.read_text() + " -- another")
    after = documented.publish(shop.kept, shop.project, "run-3", "build", "--select", "stg_orders")
    found = lineage(after, tmp_path)
    assert found["model.shop.windowed"]["problem"].startswith("Its SQL is not known")
    assert found[SALES] == {"columns": KNOWN[SALES], "problem": ""}
