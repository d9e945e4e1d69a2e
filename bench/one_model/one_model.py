"""The daily build of a project of which one model is wanted."""

from prefect import State, flow

from dbtpod.invocation import writer


@flow(name="dbt-build")
def dbt_build() -> State:
    """Build that model, and publish."""
    with writer() as dbt:
        dbt("build", "--select", "model_0000")
    return dbt.state
