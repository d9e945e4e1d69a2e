"""What a run keeps of itself for the history: run.json when it begins and when it ends, and then the history's file.

All of it is done while the run has the writer's lock, and none of it can fail the run: what goes wrong is a warning.
"""

import importlib.metadata
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from dbtpod import settings
from dbtpod.history import record
from dbtpod.history.record import COMPLETED, CRASHED, FAILED, Record, Start
from dbtpod.history.update import History
from dbtpod.ui.artifacts import DEPLOYMENT
from dbtpod.ui.event_sender import background, no_retry_client
from dbtpod.warehouse import facts
from dbtpod.warehouse.volume import Volume

# For the deployment's name, which is asked for when the run begins.
_SECONDS = 1.0


class Recording:
    """The run.json of one start of a run, in its folder."""

    def __init__(self, run_id: str, folder: Path, only_reads: bool) -> None:
        self._folder = folder
        self._message: str | None = None
        self._generation: int | None = None
        self._has_begun = False
        # The name of the deployment comes when it comes.
        self._lock = threading.Lock()
        pod = settings.environment().get("POD_NAME", socket.gethostname())
        found = Record(
            run_id,
            name=str(flow_run.name),
            flow=_flow(),
            only_reads=only_reads,
            dbtpod=importlib.metadata.version("dbtpod"),
        )
        # A run that restarts loses its folder.
        self._record = found.begun(Start(pod, _started()), record.read(folder / record.FILE))
        self._asking = _ask_for_deployment(self._name_deployment)

    def begin(self, base: int | None = None) -> None:
        """Note that the run runs, on that generation."""
        with self._lock:
            self._record = replace(self._record, base=base)
            self._has_begun = True
            self._write()

    def complete(self, message: str | None, generation: int | None = None) -> None:
        """Say what its state will be if all that is left goes well."""
        self._message, self._generation = message, generation

    def end(self, error: BaseException | None) -> None:
        """Note how it ended."""
        if self._asking:
            self._asking.join(_SECONDS)
        state = COMPLETED if error is None else FAILED if isinstance(error, Exception) else CRASHED
        message = self._message if error is None else str(error) or type(error).__name__
        with self._lock:
            self._has_begun = self._has_begun or self._folder.is_dir()
            self._record = self._record.ended(state, message, datetime.now(UTC), self._generation)
            self._write()

    def _name_deployment(self, name: str) -> None:
        with self._lock:
            # Its end was written without.
            if self._record.starts[-1].ended is None:
                self._record = replace(self._record, deployment=name)
                self._write()

    def _write(self) -> None:
        if not self._has_begun:
            return
        try:
            record.write(self._folder, self._record)
        except OSError as error:
            get_run_logger().warning("The history of runs will lack something of this one: %s", error)


@contextmanager
def of(
    run_id: str,
    folder: Path,
    history: History | None = None,
    alone: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[Recording]:
    """Enclose what a run does. With a history, which needs the volume's lock (`alone`), that is up to date after it.

    A run that reads has none: the next one that writes takes it in. One that is being stopped leaves it too.
    """
    recording = Recording(run_id, folder, only_reads=history is None)
    if history is None:
        recording.begin()
    error: BaseException | None = None
    try:
        yield recording
    except BaseException as raised:
        error = raised
        raise
    finally:
        recording.end(error)
        if history and (error is None or isinstance(error, Exception)):
            history.bring_up_to_date(get_run_logger(), alone)


def base(volume: Volume) -> int | None:
    """Return the generation that the working copy began from."""
    owner, _ = facts.owner(volume.owner)
    return owner.base if owner else None


def _started() -> datetime:
    """Return when this process began with the flow: before it waited for the lock."""
    context = FlowRunContext.get()
    return datetime.fromtimestamp(context.start_time.timestamp(), UTC) if context else datetime.now(UTC)


def _flow() -> str | None:
    context = FlowRunContext.get()
    return context.flow.name if context and context.flow else None


def _ask_for_deployment(name: Callable[[str], None]) -> threading.Thread | None:
    """Have the API say what the run's deployment is called, where the engine does not know it already.

    The run waits for that at its end only, and not long.
    """
    context, log = FlowRunContext.get(), get_run_logger()
    deployment = context.flow_run.deployment_id if context and context.flow_run else None
    if deployment is None:
        return None
    if known := settings.environment().get(DEPLOYMENT):
        name(known)
        return None

    def ask() -> None:
        try:
            with no_retry_client() as client:
                name(client.read_deployment(deployment).name)
        except Exception as error:
            log.debug("The name of the deployment is not known: %s: %s", type(error).__name__, error)

    thread = background(ask, "dbtpod-deployment")
    thread.start()
    return thread
