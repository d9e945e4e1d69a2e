"""Run dbt in a Prefect flow run: every node seen, the DuckDB file safe.

    from dbtpod import run_dbt

    @flow
    def build() -> State:
        return run_dbt("build", retries=2)

what a flow calls
    flows            the ready flows: a deployment of them gives dbt commands, or a request, and needs no Python
    selection        what a command selects: a name that the project does not have is an error before the lock
    run              `run_dbt`: lock -> working copy -> dbt -> report -> publish
    ending           the build published, kept aside or discarded, and what the state says of it
    recording        what a run keeps of itself for the history, when it begins and when it ends
    command          one dbt command, with its retries
    attempts         its attempts: the whole command, or the same command for what is left
    plan             the nodes that it is to run, all of them
    outcome          how an attempt ended: the error that says what failed, and why
    complete         the one place that says that a run is complete
    resume           the beginning of a run, or its resuming after a pod that died or a run that failed
    continuing       what of it is good still where the project is another than before
    fresher          `build_if_fresher`, the ready flow that builds what has new data, and else nothing
    settings, errors what a user sets; what can go wrong, and whether trying again can help
    environment      the only reader of the environment
    request          `RunRequest`: the form of `dbt-run`, as dbt commands
    tables, timeout  a table of text; a bounded wait
    one_try          requests to Prefect's API that are made once, where who asks has a patience of its own
    server_log       what Prefect's server logs of webhooks, without their addresses
    cli              the command `dbtpod`
what the command `dbtpod` does (cli)
    check            what is wrong in a repository, all of it, before anything is built or registered
    bake             when the image is built: the profile of runs, and what dbt parses and compiles
    baked_target     one target of it, parsed and looked at as a pod will (parse_process: dbt's process for it)
    register         the chart's hook, and by hand: makes a Prefect server equal to prefect.yaml
    proof            what `helm test` runs: the deployment that proves an install
    watchdog         beside the worker: compares what Prefect says of runs with what Kubernetes has of them
    transfer         a generation taken out as one file, checked, and brought in
    backup           published generations in S3, checked, and brought back
    moving           the tables of a generation, copied into a database server
    generations      what was published or kept aside, what changed, the way back; the volume checked and repaired
    reader           what is published, over HTTP
    laptop           on one machine, without a cluster: one run, or the schedules of prefect.yaml
the packages behind them; each may import those above it and the errors and settings, none below, and nothing from here
    dbt              running dbt, and reading what it says
    warehouse        the DuckDB file and its generations
    history          what became of runs, nodes, tests and tables over time, as data
    docs             dbt's documentation and the column lineage of a generation
    ui               what people see of it in Prefect
    pod              what a flow run needs because it is a pod
    faststart        a pod's first process (boot), where it starts fast: all private API of Prefect and dbt
    registration     prefect.yaml, and the server that it is brought to
    startup          how the chart's long-lived pods begin: password, database, Secrets that change
    init             what `dbtpod init` writes beside a user's dbt project
"""

from typing import TYPE_CHECKING, Any

from dbtpod.errors import (
    BackupUnusable,
    BuildIncomplete,
    ConnectionLost,
    DbtFailed,
    DbtKilled,
    DbtPodError,
    DbtUnusable,
    DeploymentsInvalid,
    ExportUnusable,
    MoveRefused,
    RunGivenUp,
    SettingsError,
    VolumeFull,
    WarehouseBusy,
    WarehouseUnusable,
)

if TYPE_CHECKING:
    from dbtpod.run import run_dbt

    __version__: str

__all__ = [
    "BackupUnusable",
    "BuildIncomplete",
    "ConnectionLost",
    "DbtFailed",
    "DbtKilled",
    "DbtPodError",
    "DbtUnusable",
    "DeploymentsInvalid",
    "ExportUnusable",
    "MoveRefused",
    "RunGivenUp",
    "SettingsError",
    "VolumeFull",
    "WarehouseBusy",
    "WarehouseUnusable",
    "__version__",
    "run_dbt",
]


# When asked for: it imports Prefect, which the watchdog and dbt's process do without.
def __getattr__(name: str) -> Any:
    if name == "run_dbt":
        from dbtpod.run import run_dbt

        return run_dbt
    if name == "__version__":
        from importlib.metadata import version

        return version("dbtpod")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
