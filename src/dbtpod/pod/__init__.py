"""A flow run as a pod.

supervise        a pod's first process: forks the engine, and waits for Prefect's API (contact)
supervisor       the engine's end: its own, or by SIGTERM, or at one of the pod's limits (limits)
engine           the flow run itself, from a Prefect that is imported already, in one pod alone (alone)
forked           the processes that the supervisor watches
"""
