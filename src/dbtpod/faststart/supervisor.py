"""One flow run's engine under Prefect's executor, and the reasons to end it from outside: SIGTERM and the pod's limits.

Whoever ends it sets the run's next state, before dbt is stopped: a pod that is evicted may have two seconds.
"""

import socket
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Abort, Pause
from prefect.flows import load_flow_from_flow_run
from prefect.logging import get_logger
from prefect.runner._control_channel import ControlSignalStatus
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.states import AwaitingRetry
from prefect.utilities.engine import propose_state

from dbtpod.faststart.forked import Dbt, Engine
from dbtpod.pod import contact, limits
from dbtpod.settings import environment

# From the flow run's last state to the engine's end: for logs that the API does not take.
FLUSH_SECONDS = 15.0
# More than dbt gets to stop, less than Kubernetes gives to a pod.
GRACE_SECONDS = 15.0
# The engine is ended after that even where the API has not taken the run's next state, which is still being sent.
STATE_SECONDS = 10.0
# Between two looks at the pod's limits; kubelet looks at a pod's files less often.
LOOK_SECONDS = 5.0
# What the worker sets where Kubernetes does not start a pod again: the run goes back to the queue.
_ON_SIGTERM = "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"

logger = get_logger("dbtpod")


class Supervisor:
    """One flow run's engine, from its start to its end, or to a reason to end it."""

    def __init__(
        self, context: FlowRunExecutorContext, flow_run: FlowRun, forked: Engine, of_pod: limits.Limits
    ) -> None:
        self._context = context
        self._id = flow_run.id
        self._limits = of_pod
        self._code = 0
        self._executing = anyio.CancelScope()
        # From the moment that the run is ended from outside to the one when that is done.
        self._ending: anyio.Event | None = None
        self._executor = context.create_executor(
            flow_run,
            forked,
            resolve_flow=lambda run: load_flow_from_flow_run(run, use_placeholder_flow=False),
            propose_submitting=False,
        )

    async def run(self, terminating: anyio.Event, dbt: Dbt) -> int:
        """Execute the run; the pod's exit code."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._on_sigterm, terminating)
            tasks.start_soon(self._on_limit)
            tasks.start_soon(dbt.report_end)
            tasks.start_soon(self._bound_flush)
            with self._executing:
                result = await self._executor.submit()
                self._code = int(result is not None and result.crash_unreported)
            if self._ending:
                await self._ending.wait()
            tasks.cancel_scope.cancel()
        return self._code

    async def _bound_flush(self) -> None:
        while self._context.control_channel.get_conclusion(self._id) is None:
            await anyio.sleep(1)
        await anyio.sleep(FLUSH_SECONDS)
        await self._context.process_manager.kill(self._id, force=True)

    async def _on_sigterm(self, terminating: anyio.Event) -> None:
        """End the run as its pod is being removed."""
        await terminating.wait()
        intent = environment().get(_ON_SIGTERM, "").lower()
        if found := self._limits.behind_sigterm():
            await self._end(lambda: self._fail(found))
        elif intent == "reschedule":
            await self._end(self._reschedule)
        elif intent == "relinquish":
            self._code = 1
            await self._end(None)
        else:
            await self._context.process_manager.kill(self._id)  # the engine reports the crash

    async def _on_limit(self) -> None:
        """End the run at a limit of its pod, before Kubernetes does."""
        while True:
            await anyio.sleep(LOOK_SECONDS)
            if found := await anyio.to_thread.run_sync(self._limits.exceeded):
                return await self._end(lambda: self._fail(found))

    async def _end(self, settle: Callable[[], Awaitable[object]] | None) -> None:
        """End the engine, and have the run's next state set by `settle`; neither, where the engine has set the last."""
        if self._ending:
            return
        self._ending = anyio.Event()
        try:
            # The engine must learn this before its own SIGTERM; one that did not hear may do nothing more.
            heard = await self._context.control_channel.signal(self._id, "reschedule" if settle else "relinquish")
            if heard is not ControlSignalStatus.ALREADY_CONCLUDED:
                async with anyio.create_task_group() as tasks:
                    if settle:
                        await self._first_try(tasks, settle)
                    forced = heard is not ControlSignalStatus.ACKNOWLEDGED
                    await self._context.process_manager.kill(self._id, GRACE_SECONDS, force=forced)
                    # Or the executor would report the engine's end as a crash.
                    self._executing.cancel()
        finally:
            self._ending.set()

    async def _first_try(self, tasks: TaskGroup, settle: Callable[[], Awaitable[object]]) -> None:
        """Start setting the state, and wait for it, but not for long: dbt must be stopped in its pod's last minute."""
        is_set = anyio.Event()

        async def try_until_set() -> None:
            try:
                await settle()
            except (Abort, Pause, Exception):  # the engine must be ended all the same
                logger.exception("The state of the flow run could not be set.")
            is_set.set()

        tasks.start_soon(try_until_set)
        with anyio.move_on_after(STATE_SECONDS):
            await is_set.wait()

    async def _fail(self, found: limits.Ending) -> None:
        contact.say(found.message)
        if failed := found.state_after((await self._context.client.read_flow_run(self._id)).state):
            # Forced, or the flow's own retries would start it again.
            await self._context.client.set_flow_run_state(self._id, failed, force=True)

    async def _reschedule(self) -> None:
        state = (await self._context.client.read_flow_run(self._id)).state
        # Crashed is no end here: whoever watches the pods may have been quicker than we.
        if state is None or not state.is_final() or state.is_crashed():
            pod = environment().get("POD_NAME", socket.gethostname())
            message = f"Kubernetes ended the pod {pod} (SIGTERM: an eviction, a drain or a deletion)."
            await propose_state(self._context.client, AwaitingRetry(message=message), flow_run_id=self._id)
