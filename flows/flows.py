"""The four flows: what runs. When it runs is in prefect.yaml; how dbt runs and the DuckDB file is kept, in dbtpod."""

from prefect import State, flow

from dbtpod import run_dbt


@flow(name="dbt-build")
def dbt_build() -> State:
    """Build seeds, models and snapshots, test them all, and publish the warehouse if every test passed."""
    return run_dbt("build", retries=2, retry_delay_seconds=60)


@flow(name="dbt-smoke")
def dbt_smoke() -> State:
    """Load the seeds, then build and test the staging layer; a failed seed ends it."""
    return run_dbt("seed", "build --selector smoke", retries=2, retry_delay_seconds=30)


@flow(name="dbt-source-freshness")
def dbt_source_freshness() -> State:
    """Compare the age of each source's newest row with its thresholds, in the published warehouse."""
    return run_dbt("source freshness", retries=1, retry_delay_seconds=30)


@flow(name="dbt-fact-orders-full-refresh")
def dbt_fact_orders_full_refresh() -> State:
    """Rebuild the incremental model fct_orders from nothing, after a backfill or a bad incremental run."""
    return run_dbt("run --select fct_orders --full-refresh", retries=1, retry_delay_seconds=30)
