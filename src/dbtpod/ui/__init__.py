"""What people see of a run in Prefect.

node_runs        dbt's nodes as task runs, live and, when dbt has ended, as its artifacts say
                 (node_states: how an end looks; lineage: their parents; earlier_runs: those of a pod before;
                 task_events: Prefect's private form of them)
progress         "37 of 96 done", in the log and as a bar
report           RunReport -> state messages, tables, markdown (wording, failure_graph)
artifacts        the report as Prefect artifacts
mark             what the run published, noted on the run
deaths           why its earlier pods died
outbox           sends it all from a thread of its own, and never holds dbt up
"""
