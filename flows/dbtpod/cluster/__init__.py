"""A flow run as a pod, and pods that do not start.

supervise        a pod's first process: forks the engine, and reschedules or reports how it ended
engine           the flow run itself, from a Prefect that is imported already
stuck            why a pod or a Job of a run cannot start
health           the worker's probes
"""
