"""Requests to Prefect's API that are made once, where whoever asks has a patience of its own.

    with one_try_each():
        client.read_flow_run(flow_run_id)

Prefect's client tries again by itself: silently, with pauses that double up to minutes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.context import SettingsContext, get_settings_context


@contextmanager
def one_try_each() -> Iterator[None]:
    """Have no client of Prefect's API in this thread or task try again by itself."""
    context = get_settings_context()
    # Not temporary_settings(), which reads all settings anew: 0.05 s of CPU, six times in a run.
    client = context.settings.client.model_copy(update={"max_retries": 0})
    settings = context.settings.model_copy(update={"client": client})
    with SettingsContext(profile=context.profile, settings=settings):
        yield
