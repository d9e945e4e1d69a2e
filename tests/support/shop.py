"""The small dbt project of many tests: its profile, its settings, and how it gets onto disk."""

from collections.abc import Mapping
from pathlib import Path

PROFILE = """
shop:
  target: dev
  outputs:
    dev: &dev {type: duckdb, path: warehouse.duckdb, threads: 1}
    prod: *dev
"""
ORDERS = {
    "models/orders.sql": "select 1 as id, now() - interval 1 second as loaded_at",
    "models/totals.sql": "select count(*) as n from {{ ref('orders') }}",
}
PROJECT = "name: shop\nprofile: shop\nmodels: {+materialized: table}\n"


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a project of these files; it has our profile and settings where they have none."""
    for name, text in ({"dbt_project.yml": PROJECT, "profiles.yml": PROFILE} | dict(files)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
