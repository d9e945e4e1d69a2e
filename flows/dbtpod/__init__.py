"""Run dbt in a Prefect flow run: every node seen, the DuckDB file safe.

module       | duty
settings     | the only reader of the environment; every path of the volume
errors       | what can go wrong, and whether trying again can help
invocation   | `writer()` and `reader()`: lock -> dbt -> events -> results -> publish
process      | start dbt, stream its lines, stop it
events       | one line of dbt's JSON log -> frozen values
results      | run_results.json and sources.json -> RunReport
report       | RunReport -> tables and markdown for people
node_runs    | dbt's nodes as Prefect task runs; sole user of Prefect's private API
artifacts    | the report as Prefect artifacts
lock         | one writer, by the kernel
publish      | working copy, generations, roll back
deployments  | prefect.yaml, read and checked
register     | pool, queues, deployments, automations; prune
"""
