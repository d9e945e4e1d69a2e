"""Run dbt in a Prefect flow run, every node seen, the DuckDB file safe."""
