"""prefect.yaml, and the server that it is brought to.

deployments      prefect.yaml, read and checked (prefect_yaml: its models; mapping, steps, entrypoints)
work_pool        the pool, its job template and its queues
schedules        what is logged of them: what the file overruled, and when each deployment runs next
heartbeat        the automations that end a run whose pod vanished
"""
