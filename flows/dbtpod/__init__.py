"""Run dbt in a Prefect flow run: every node seen, the DuckDB file safe.

what a flow enters
    invocation       `writer()` and `reader()`: lock -> working copy -> dbt -> report -> publish
    command          one dbt command: its attempts, and the error that says what failed
    resume           going on where a dead pod or a lost connection stopped
    settings, errors the only reader of the environment; what can go wrong, and whether trying again can help
what is started by name
    boot             a flow run's pod
    register         the chart's hook, and by hand: makes a Prefect server equal to prefect.yaml
    watchdog         beside the worker: compares what Prefect says of runs with what Kubernetes has of them
    generations      by hand: what was published, what changed, and the way back
    laptop           `make run`
the rooms behind them; each may import those above it and the errors and settings, none below, and nothing from here
    dbt              running dbt, and reading what it says
    warehouse        the DuckDB file and its generations
    page             what people see of it in Prefect
    cluster          a flow run as a pod
    registration     prefect.yaml, and the server that it is brought to
"""
