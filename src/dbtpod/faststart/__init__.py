"""A pod that imports dbt and Prefect side by side, by private API of both: README.md has the gain and the risk.

boot             a pod's first process: starts preload, then supervise, or Prefect's own command
supervise        forks the engine, and waits for Prefect's API
supervisor       the engine's end: its own, or by SIGTERM, or at one of the pod's limits
engine           the flow run itself, from a Prefect that is imported already
first_contact    the first request to the API, with a short wait to connect
tls              one TLS context for the clients of the API in a process
forked           the processes that the supervisor watches
preload          the process that imports dbt, and runs the commands that it is given
preloaded        the flow's end of it
patched          dbt as a program with the patches, for a laptop
allocation       memory that is freed goes back to the system
importing        the import of Prefect and of dbt, for less CPU
later            what their imports leave to be imported when it is used
stand_in         modules that stand in for others until they are used
graphs           networkx without what dbt does not use
patches          what a preloaded dbt leaves out, or does faster
parts            each part's private names, and whether it may be used here
precompiled      templates and schemas that were compiled when the image was built
"""
