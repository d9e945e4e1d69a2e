"""Beside the worker: compares what Prefect says of this pool's runs with what Kubernetes has of them.

Prefect's worker creates a Job and does not ask again what became of it, and a run that Prefect says is about to start
may have nothing in Kubernetes. All that is known is in the two APIs, so a restart of the watchdog loses no more than
some of its patience. It uses plain HTTP: with Prefect's client and Kubernetes' it would take five times the memory.

main, rounds     the program; what it does every few seconds
health           what the pod's probes are answered
metrics          what Prometheus is given (successes: when each deployment last succeeded)
cluster, server  the two APIs, as far as they are used here
sight            what both say at one time
watch            for how long a thing has been so
missed           ends scheduled runs that are too late
claims           puts runs back that were claimed and never got a Job, or whose Job could not be created
starting         ends runs whose pod cannot start, or never reaches Prefect
cancels          ends cancelled runs that have no process to do it
crashes          adds the reason that Kubernetes knows to crashed runs
garbage          has Kubernetes remove the release's Jobs with the release
owner            whose a work pool is, and how that is written
guard            holds the worker back while its pool is another's
registration     registers again where the server has lost, or never had, what this release registers
stuck, ended     why a pod does not start, why it ended: pure functions over Kubernetes' objects
"""
