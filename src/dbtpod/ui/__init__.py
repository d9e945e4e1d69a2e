"""What people see of a run in Prefect.

node_runs        dbt's nodes as task runs of a flow run
command_runs     those of one command: live and, when dbt has ended, as its artifacts say
                 (node_states: how an end looks; lineage: their parents; earlier_runs: those of a pod before;
                 task_events: Prefect's private form of them)
progress         "37 of 96 done", in the log and as a bar
report           RunReport -> state messages, tables, markdown (text, failure_graph)
reader_links     from a report into the reader
kept_aside       what differs in a preview, for the report
artifacts        the report as Prefect artifacts (links: from a failed run's to a form that continues)
stale            that sources are stale, as an event; owners: whose a node is
mark             what the run published, noted on the run
deaths           why its earlier pods died
event_sender     sends the task runs' events from a thread of its own; dbt never waits for it
"""
