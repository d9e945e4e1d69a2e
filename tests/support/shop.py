"""The small dbt project of many tests: its profile, its settings, and how it gets onto disk."""

from collections.abc import Mapping
from pathlib import Path

PROFILE = """
shop:
  target: writer
  outputs:
    writer: &writer {type: duckdb, path: "{{ env_var('DUCKDB_PATH') }}", threads: 1}
    prod: *writer
    reader: {type: duckdb, path: "{{ env_var('DBTPOD_READABLE_PATH') }}", config_options: {access_mode: read_only}}
"""
PROJECT = "name: shop\nprofile: shop\nmodels: {+materialized: table}\n"


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a project of these files; it has our profile and settings where they have none."""
    for name, text in ({"dbt_project.yml": PROJECT, "profiles.yml": PROFILE} | dict(files)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
