"""Every private name of Prefect, dbt and Python that the fast start uses, and whether a part of it may be used here.

    if parts.JSON_ENCODER.is_usable():
        ...

A part is left out where a name is gone or has other parameters than it was written for, where the version was not tried
that is installed, and where DBTPOD_FASTSTART_WITHOUT names it, to measure what it brings. The log then has a line, and
the supported way is taken.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from importlib.metadata import version
from inspect import Parameter, Signature, signature
from types import FunctionType
from typing import Any

from dbtpod.settings import environment

# The versions that the tests of this package ran with; a test compares them with pyproject.toml.
TRIED = {"prefect": ("3.9",), "dbt-core": ("1.11", "1.12")}
# Of parts, with commas. `preload` has a name of its own, for bug reports: DBTPOD_PLAIN_DBT=1.
WITHOUT, PLAIN_DBT = "DBTPOD_FASTSTART_WITHOUT", "DBTPOD_PLAIN_DBT"


class _Unusable(Exception):
    """Why a part is left out."""


@dataclass(frozen=True)
class Part:
    """One thing that the fast start does, and what for it must be as it was."""

    name: str
    # Whose versions were tried; None where another part, for the same import, looks at that.
    package: str | None
    # What happens where it is left out.
    instead: str
    # "module:attribute", and the parameters of what is called or replaced; None: an attribute, of instances maybe.
    uses: Mapping[str, str | None]

    def is_usable(self) -> bool:
        """Look, and print a line where it is not. What it uses is imported by that."""
        try:
            self._look()
        except Exception as problem:  # also what an unknown package raises when it is imported
            kind = "" if isinstance(problem, _Unusable) else f"{type(problem).__name__}: "
            print(f"dbtpod: fast start without {self.name} ({kind}{problem}): {self.instead}.", flush=True)  # noqa: T201
            return False
        return True

    def _look(self) -> None:
        given = environment()
        if self.name in given.get(WITHOUT, "").split(","):
            raise _Unusable(f"{WITHOUT} names it")
        if self is PRELOAD and given.get(PLAIN_DBT) == "1":
            raise _Unusable(f"{PLAIN_DBT}=1")
        if self.package is not None:
            installed = version(self.package)
            if not installed.startswith(tuple(f"{tried}." for tried in TRIED[self.package])):
                raise _Unusable(f"{self.package} {installed} was never tried")
        for name, expected in self.uses.items():
            found = _find(name)
            if expected is not None and (actual := parameters(found)) != expected:
                raise _Unusable(f"{name} takes {actual}, not {expected}")


def parameters(function: Callable[..., Any]) -> str:
    """Return the parameters without types, and of defaults only that there is one: "(self, url, timeout=...)"."""
    found = [
        each.replace(annotation=Parameter.empty, default=each.default if each.default is Parameter.empty else _DEFAULT)
        for each in signature(function).parameters.values()
    ]
    return str(Signature(found))


class _Default:
    def __repr__(self) -> str:
        return "..."


_DEFAULT = _Default()


def _find(name: str) -> Any:
    module, _, path = name.partition(":")
    *owners, attribute = path.split(".")
    owner = reduce(getattr, owners, import_module(module))
    found = getattr(owner, attribute, _DEFAULT)
    if found is _DEFAULT and not (isinstance(owner, type) and _is_of_instances(owner, attribute)):
        raise _Unusable(f"{name} is gone")
    return found


def _is_of_instances(owner: type, attribute: str) -> bool:
    """Whether the class declares it, or one of its methods names it."""
    methods = [each for each in vars(owner).values() if isinstance(each, FunctionType)]
    declared = getattr(owner, "__annotations__", {})
    return attribute in declared or any(attribute in method.__code__.co_names for method in methods)


_EXECUTOR = "prefect.runner._flow_run_executor"
SUPERVISOR = Part(
    "supervisor",
    "prefect",
    "Prefect's own command starts this run",
    {
        f"{_EXECUTOR}:FlowRunExecutorContext": "()",
        f"{_EXECUTOR}:FlowRunExecutorContext.client": None,
        f"{_EXECUTOR}:FlowRunExecutorContext.control_channel": None,
        f"{_EXECUTOR}:FlowRunExecutorContext.process_manager": None,
        f"{_EXECUTOR}:FlowRunExecutorContext.create_executor": (
            "(self, flow_run, starter, resolve_flow=..., propose_submitting=..., hook_runner=...)"
        ),
        f"{_EXECUTOR}:FlowRunExecutor.submit": "(self, task_status=...)",
        f"{_EXECUTOR}:FlowRunExecutionResult": "(handle, status_code, crash_unreported=...)",
        f"{_EXECUTOR}:ProcessStarter.start": "(self, flow_run, task_status=...)",
        "prefect.runner._process_manager:ProcessHandle": "(_process, termination_scope=...)",
        "prefect.runner._process_manager:ProcessManager.kill": "(self, flow_run_id, grace_seconds=..., *, force=...)",
        "prefect.runner._process_manager:ProcessTerminationScope.is_alive": "(self, pid)",
        "prefect.runner._process_manager:ProcessTerminationScope.graceful_kill": "(self, pid)",
        "prefect.runner._process_manager:ProcessTerminationScope.hard_kill": "(self, pid)",
        "prefect.runner._process_manager:ProcessTerminationScope.close": "(self)",
        "prefect.runner._control_channel:ControlChannel.register": "(self, flow_run_id)",
        "prefect.runner._control_channel:ControlChannel.signal": "(self, flow_run_id, intent)",
        "prefect.runner._control_channel:ControlChannel.get_conclusion": "(self, flow_run_id)",
        "prefect.runner._control_channel:ControlSignalStatus.ACKNOWLEDGED": None,
        "prefect.runner._control_channel:ControlSignalStatus.ALREADY_CONCLUDED": None,
        "prefect.client.orchestration:PrefectClient._client": None,
        "prefect.client.orchestration:SyncPrefectClient._client": None,
        "prefect._internal.control_listener:configure_from_env": "()",
        "prefect.engine:_drive_run_flow_result": "(flow, run_result)",
        "prefect.engine:handle_engine_signals": "(flow_run_id=...)",
        "prefect.flow_engine:load_flow": "(flow_run)",
        "prefect.flow_engine:run_flow": (
            "(flow, flow_run=..., parameters=..., wait_for=..., return_type=..., error_logger=..., context=...)"
        ),
        "prefect.task_engine:run_task": None,
        "prefect.utilities.visualization:get_task_viz_tracker": "()",
        "prefect.flows:load_flow_from_entrypoint": "(entrypoint, use_placeholder_flow=...)",
        "prefect.flows:load_flow_from_flow_run": (
            "(client, flow_run, ignore_storage=..., storage_base_path=..., use_placeholder_flow=...)"
        ),
        "prefect.logging.loggers:flow_run_logger": "(flow_run=..., flow=..., flow_run_id=..., **kwargs)",
        "prefect.utilities.engine:propose_state": "(client, state, flow_run_id, force=...)",
        "prefect.utilities.engine:propose_state_sync": "(client, state, flow_run_id, force=...)",
    },
)
BEGIN_RUN = Part(
    "begin-run",
    "prefect",
    "the run begins up to half a second before or after its time",
    {
        "prefect.flow_engine:FlowRunEngine.begin_run": "(self)",
        "prefect.flow_engine:AsyncFlowRunEngine.begin_run": "(self)",
    },
)
TLS_CONTEXT = Part(
    "tls-context",
    "prefect",
    "each client of Prefect's API reads all certificate authorities",
    {"prefect.client.orchestration:ssl": None},
)
PRELOAD = Part(
    "preload",
    "dbt-core",
    "each command is a dbt of its own",
    {
        "dbt.cli.main:cli": None,
        "dbt.task.build:BuildTask": None,
        "dbt.adapters.factory:reset_adapters": "()",
        # Of Python's own, for the helper process that a model's multiprocessing leaves behind.
        "multiprocessing.resource_tracker:_resource_tracker": None,
        "multiprocessing.resource_tracker:ResourceTracker._fd": None,
        "multiprocessing.resource_tracker:ResourceTracker._stop": None,
    },
)
# Of that adapter alone: the others close their connections with each command.
DUCKDB = Part(
    "preload-duckdb",
    "dbt-core",
    "each command is a dbt of its own",
    {"dbt.adapters.duckdb.connections:DuckDBConnectionManager.close_all_connections": "()"},
)
LAZY_CLASSES = Part(
    "lazy-classes",
    "dbt-core",
    "dbt's import makes code for each class",
    {"mashumaro.config:BaseConfig.lazy_compilation": None},
)
DEBUG_EVENTS = Part(
    "debug-events",
    "dbt-core",
    "dbt writes each debug line",
    {
        "dbt_common.events.event_manager:EventManager.fire_event": (
            "(self, e, level=..., node=..., force_warn_or_error_handling=...)"
        ),
        "dbt_common.events.base_types:BaseEvent.__init__": "(self, *args, **kwargs)",
        "dbt_common.events.base_types:BaseEvent.pb_msg": None,
    },
)
JSON_ENCODER = Part(
    "json-encoder",
    "dbt-core",
    "dbt's artifacts are written by json.dump",
    {"dbt_common.clients.system:json": None, "dbt_common.clients.system:write_json": "(path, data)"},
)
TEST_ARGUMENTS = Part(
    "test-arguments",
    "dbt-core",
    "dbt makes an object of each macro for each argument of a test",
    {
        "dbt_common.clients.jinja:MacroFuzzTemplate.new_context": "(self, vars=..., shared=..., locals=...)",
        "dbt_common.clients.jinja:NativeSandboxTemplate.new_context": "(self, vars=..., shared=..., locals=...)",
        "dbt_common.clients.jinja:NativeSandboxTemplate.render": "(self, *args, **kwargs)",
    },
)
TEMPLATES = Part(
    "templates",
    "dbt-core",
    "dbt compiles each template",
    {
        "dbt_common.clients.jinja:MACRO_DEBUGGING": None,
        "dbt_common.clients.jinja:MacroFuzzEnvironment.compile": (
            "(self, source, name=..., filename=..., raw=..., defer_init=...)"
        ),
        "dbt_common.clients.jinja:get_environment": "(node=..., capture_macros=..., native=...)",
    },
)
SCHEMAS = Part(
    "schemas",
    "dbt-core",
    "dbt makes each schema",
    {"dbt_common.dataclass_schema:dbtClassMixin.json_schema": "()"},
)
LOCKS = Part(
    "locks",
    "dbt-core",
    "dbt's locks have a helper process",
    {"dbt.mp_context:_MP_CONTEXT": None},
)
LATE_IMPORTS = Part("late-imports", None, "Prefect imports what a run rarely needs", {})
LATE_IMPORTS_DBT = Part("late-imports-dbt", None, "dbt imports what a command rarely needs", {})
WARM_UP = Part("warm-up", "dbt-core", "the first command does what each process does once", {})
PARTS = (
    SUPERVISOR,
    BEGIN_RUN,
    TLS_CONTEXT,
    LATE_IMPORTS,
    PRELOAD,
    DUCKDB,
    WARM_UP,
    LATE_IMPORTS_DBT,
    LOCKS,
    LAZY_CLASSES,
    DEBUG_EVENTS,
    JSON_ENCODER,
    TEST_ARGUMENTS,
    TEMPLATES,
    SCHEMAS,
)
