"""Run dbt in a Prefect flow run: every node seen, the DuckDB file safe.

what a flow enters
    invocation       `writer()` and `reader()`: lock -> working copy -> dbt -> report -> publish
    command          one dbt command: its attempts, and the error that says what failed
    resume           going on where a dead pod or a lost connection stopped
    settings, errors the only reader of the environment; what can go wrong, and whether trying again can help
running dbt
    process          the one seam to dbt: start, lines, stop (leash: it never outlives us; warm: imported beforehand)
    parse_state      what dbt parsed, baked into the image (precompiled: what it compiled)
    shortcuts        what a warm dbt leaves out, as nobody reads it, or does quicker
    events           one line of dbt's JSON log -> frozen values (failures: which of them can pass)
    results          run_results.json and sources.json -> RunReport
    report           RunReport -> state messages, tables, markdown (wording, failure_graph)
the run's page in Prefect
    node_runs        dbt's nodes as task runs (lineage: their parents; task_events: Prefect's private form of them)
    progress         "37 of 96 done", in the log and as a bar
    artifacts        the report as Prefect artifacts
    outbox           sends it all from a thread of its own, and never holds dbt up
the warehouse
    lock             one writer, by the kernel
    checkout         the working copy
    publish          the generations, and the link that readers follow (generations: its command line)
    housekeeping     what nobody needs any more
    database         the one user of duckdb; durable: file operations that outlive a power cut
registration, by the chart's hook
    register         makes a Prefect server equal to prefect.yaml (work_pool, schedules, heartbeat)
    deployments      prefect.yaml, read and checked (deployment_rules, entrypoints)
in the cluster
    boot             what a flow run's pod starts (supervise, engine)
    watchdog         ends runs whose pod cannot start (stuck: why; health: the probes)
on a laptop
    laptop           `make run`
"""
