"""Whether a command selects the same nodes of a changed project, by the manifests that dbt writes."""

from collections.abc import Mapping
from typing import Any

import pytest

from dbtpod.dbt import changes
from dbtpod.dbt.changes import Manifest

MODEL = {
    "resource_type": "model",
    "raw_code": "select 1 as id",
    "checksum": {"name": "sha256", "checksum": "a"},
    "created_at": 1.5,
    "tags": ["daily"],
    "config": {"materialized": "table"},
    "depends_on": {"nodes": ["seed.shop.raw"], "macros": []},
    "original_file_path": "models/orders.sql",
}
# What a build adds to its manifest.
COMPILED = {"compiled": True, "compiled_code": "select 1 as id", "extra_ctes": [], "build_path": "run/orders.sql"}


def manifest(model: Mapping[str, Any], version: str = "1.12.6", **more: Any) -> Manifest:
    """One with that model, as dbt writes it."""
    content = {"metadata": {"dbt_version": version}, "macros": {}, "nodes": {"model.shop.orders": model}}
    return Manifest(content | more)


@pytest.mark.parametrize(
    "changed",
    [
        COMPILED,
        {"raw_code": "select 2 as id", "checksum": {"name": "sha256", "checksum": "b"}, "created_at": 2.5},
        {"depends_on": {"nodes": ["seed.shop.raw"], "macros": ["macro.shop.doubled"]}},
    ],
    ids=["compiled", "another text", "another macro"],
)
def test_another_text_of_a_node_changes_no_selection(changed: dict[str, Any]) -> None:
    assert changes.selects_alike(manifest(MODEL), manifest(MODEL | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"tags": ["daily", "late"]},
        {"config": {"materialized": "ephemeral"}},
        {"depends_on": {"nodes": [], "macros": []}},
        {"original_file_path": "models/marts/orders.sql"},
        {"raw_code": "  \n"},
        {"meta": {"owner": "them"}},
    ],
    ids=["a tag", "the config", "a parent", "the path", "an empty file", "a key that we do not know"],
)
def test_all_else_of_a_node_may_change_a_selection(changed: dict[str, Any]) -> None:
    assert not changes.selects_alike(manifest(MODEL), manifest(MODEL | changed))


@pytest.mark.parametrize(
    "now",
    [
        manifest(MODEL, "1.13.0"),
        manifest(MODEL, selectors={"daily": {"definition": "tag:daily"}}),
        manifest(MODEL, exposures={"exposure.shop.board": {"depends_on": {"nodes": ["model.shop.orders"]}}}),
        manifest(MODEL, nodes={"model.shop.orders": MODEL, "model.shop.other": MODEL}),
    ],
    ids=["dbt's version", "a selector", "an exposure", "a model more"],
)
def test_what_is_beside_the_nodes_may_change_a_selection(now: Manifest) -> None:
    assert not changes.selects_alike(manifest(MODEL), now)
