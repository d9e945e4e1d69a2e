"""The daily build of a project of which one model is wanted."""

from prefect import State, flow

from dbtpod import run_dbt


@flow(name="dbt-build")
def dbt_build() -> State:
    """Build that model, and publish."""
    return run_dbt("build --select model_0000")
