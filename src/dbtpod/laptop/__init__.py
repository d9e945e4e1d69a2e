"""A project on one machine, without a cluster: `dbtpod run` and `dbtpod serve`.

place      where the repository, the dbt project and the data are
choice     what `run` is asked for: a deployment, a dbt command, a request, or nothing
options    the options of a request
run        one flow run in this process
embedded   Prefect's server in that process
serve      Prefect's server, a worker and the schedules of prefect.yaml, until it is stopped
child      a process that ends with the one that started it
served     which `serve` has this data, and where its server answers
rounds     what `serve` does every few seconds: runs whose process died, runs that were missed
dead       ends the runs whose process died
worker     the worker's process: each flow run is a process, as a pod is on a cluster
registration  the process that registers prefect.yaml for this worker (pool: its work pool)
"""
