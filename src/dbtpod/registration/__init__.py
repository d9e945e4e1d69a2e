"""prefect.yaml, and the server that it is brought to.

deployments      prefect.yaml, read and checked (prefect_yaml: its models; mapping, steps, entrypoints, job_variables)
draft            prefect.yaml as it is written, which needs no Prefect (yaml_file: the lines)
commands         the dbt commands in it (requests: those of forms that are filled in already)
variant          what differs from one environment to another: dev, staging, prod
schema           what a JSON schema says, in our words
work_pool        the pool, its job template and its queues
wanted           what each deployment is to be, as Prefect's own command would make it
registered       what the server has of them: compared, and written where it differs
schedules        what is logged of them: what the file overruled, and when each deployment runs next
heartbeat        the automations that end a run whose pod vanished (automations: how one is kept)
alerts           those that post to a webhook (alert_triggers: when; alert_messages: what)
dry_run          what Kubernetes says of the Jobs of runs
"""
