"""A flow run as a pod.

supervise        a pod's first process: forks the engine, and reschedules or reports how it ended
engine           the flow run itself, from a Prefect that is imported already
"""
