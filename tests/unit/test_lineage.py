"""A node's nearest ancestors among those that ran, and where the lineage is read from."""

import json
from itertools import pairwise
from pathlib import Path

from dbtpod.ui.lineage import nearest, read_parents


def test_ancestors_that_did_not_run_are_stepped_over_however_many() -> None:
    chain = [f"model.shop.m{number}" for number in range(5000)]
    parents = {below: [above] for above, below in pairwise(chain)}

    assert nearest(chain[-1], parents, {chain[0]}) == [chain[0]]


def test_the_parents_are_read_from_a_manifest_and_none_without_one(tmp_path: Path) -> None:
    parents = {"model.shop.stg_orders": [], "model.shop.fct_orders": ["model.shop.stg_orders"]}
    (tmp_path / "manifest.json").write_text(json.dumps({"nodes": {}, "parent_map": parents, "child_map": {}}))

    assert read_parents(tmp_path) == parents
    assert read_parents(tmp_path / "elsewhere") == {}
