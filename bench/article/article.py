"""A build as Prefect's tutorials write it: dbt in a subprocess, its lines passed on, the whole flow tried again."""

import os
import subprocess
from pathlib import Path

from prefect import flow, get_run_logger

PROJECT, PROFILES = os.environ["DBT_PROJECT_DIR"], os.environ["DBT_PROFILES_DIR"]


@flow(name="article-build", retries=2, retry_delay_seconds=60)
def build() -> None:
    """Build everything, parsing anew."""
    Path(os.environ["DUCKDB_PATH"]).parent.mkdir(exist_ok=True)
    options = ["--project-dir", PROJECT, "--profiles-dir", PROFILES, "--no-partial-parse"]
    process = subprocess.Popen(
        ["dbt", "build", *options],  # noqa: S607
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )
    assert process.stdout is not None
    for line in process.stdout:
        get_run_logger().info(line.rstrip())
    if code := process.wait():
        raise RuntimeError(f"dbt build ended with {code}")
