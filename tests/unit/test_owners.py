"""Whose a failed node is, as dbt's manifest says."""

import json
from pathlib import Path
from typing import Any

import pytest

from dbtpod.ui import owners

GROUP = {"group.shop.finance": {"name": "finance", "owner": {"name": "Finance", "email": "fin@shop.example"}}}


def node(**entry: Any) -> dict[str, Any]:
    return {"package_name": "shop", "depends_on": {"nodes": []}, **entry}


@pytest.mark.parametrize(
    ("nodes", "failed", "owner"),
    [
        ({"model.shop.a": node(config={"meta": {"owner": "@data"}})}, "model.shop.a", "@data"),
        ({"model.shop.a": node(meta={"owner": ["Ann (lead)", "Bo"]})}, "model.shop.a", "Ann lead, Bo"),
        ({"model.shop.a": node(config={"group": "finance"})}, "model.shop.a", "Finance, fin@shop.example"),
        (
            {"model.shop.a": node(meta={"owner": "@own"}, group="finance")},
            "model.shop.a",
            "@own",
        ),
        (
            {
                "test.shop.not_null.1": node(attached_node="model.shop.a", config={"meta": {}}),
                "model.shop.a": node(group="finance"),
            },
            "test.shop.not_null.1",
            "Finance, fin@shop.example",
        ),
        (
            {
                "test.shop.singular": node(depends_on={"nodes": ["model.shop.a"]}),
                "model.shop.a": node(meta={"owner": "@data"}),
            },
            "test.shop.singular",
            "@data",
        ),
        ({"source.shop.raw.orders": node(source_meta={"owner": "Sales"})}, "source.shop.raw.orders", "Sales"),
    ],
    ids=["meta in config", "a list", "a group", "its own before its group", "a test", "a singular test", "a source"],
)
def test_the_owner_of_a_node(tmp_path: Path, nodes: dict[str, Any], failed: str, owner: str) -> None:
    # What depends on it has its id as a key too, of a list.
    manifest = {"child_map": {key: [] for key in nodes}, "nodes": nodes, "groups": GROUP}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))

    assert owners.read(tmp_path, [failed]) == {failed: owner}


def test_a_model_is_not_owned_by_the_owner_of_what_it_reads(tmp_path: Path) -> None:
    nodes = {
        "model.shop.b": node(depends_on={"nodes": ["model.shop.a"]}),
        "model.shop.a": node(meta={"owner": "@data"}),
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"nodes": nodes}))

    assert owners.read(tmp_path, ["model.shop.b", "model.shop.gone"]) == {}


@pytest.mark.parametrize("text", [None, "", '{"nodes": {"model.shop.a": {"meta": '], ids=["none", "empty", "cut"])
def test_without_a_whole_manifest_no_owner_is_known(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)

    assert owners.read(tmp_path, ["model.shop.a"]) == {}
