"""What a flow run published, noted on the run itself: a pod that dies after that has no state to say it in.

The label is for whoever ends such a run. Where the pod died before it was written, the next writing run amends the
message of the Crashed state.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State

from dbtpod.ui.event_sender import again_if_busy, background

GENERATION = "dbtpod.generation"


class Published(Protocol):
    """What is known of a generation."""

    @property
    def number(self) -> int:
        """Its number."""

    @property
    def run(self) -> str:
        """The flow run that built it."""


def published(run_id: str, generation: int) -> None:
    """Label the flow run with the generation that it published; at once, whatever the API does, and never raises.

    A run that ends before the label is written has its last state for that.
    """

    def label(client: SyncPrefectClient) -> None:
        client.update_flow_run_labels(UUID(run_id), {GENERATION: generation})

    _softly(
        partial(again_if_busy, label),
        f"The flow run could not be labelled with the generation {generation} that it published",
    )


def amend(generations: Callable[[], Sequence[Published]]) -> None:
    """Have the run of the newest generation say that it published it, if it is Crashed and does not; at once."""

    def newest() -> None:
        for one in generations()[-1:]:
            _amend(one)

    _softly(newest, "The run of the newest generation could not be looked at")


def text(generation: int) -> str:
    """Return the sentence that says that a run which ended otherwise was published all the same."""
    return f"Generation {generation} was published before."


def _amend(generation: Published) -> None:
    try:
        run_id = UUID(generation.run)
    except ValueError:
        return  # not built by a run

    def say(client: SyncPrefectClient) -> None:
        state = client.read_flow_run(run_id).state
        if state and state.is_crashed() and text(generation.number) not in (state.message or ""):
            message = f"{state.message or 'The pod died.'} {text(generation.number)}"
            amended = State[None](type=state.type, name=state.name, message=message)
            client.set_flow_run_state(run_id, amended, force=True)

    again_if_busy(say)


def _softly(work: Callable[[], None], problem: str) -> None:
    """Do the work in a thread; what goes wrong is a debug line, as the run itself does not need it."""
    log = get_run_logger()

    def safely() -> None:
        try:
            work()
        except Exception as error:
            log.debug("%s: %s: %s", problem, type(error).__name__, error)

    background(safely, "dbtpod-mark").start()
