"""The report of a flow run as Prefect artifacts: a table whose history Prefect keeps, and a report in markdown."""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Self
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from dbtpod import settings
from dbtpod.timeout import Timeout
from dbtpod.ui.event_sender import again_if_busy, background
from dbtpod.ui.links import Maker

# Two answers of a slow server.
_SECONDS = 12.0
# The variable in which the engine, which has asked for it already, leaves the deployment's name.
DEPLOYMENT = "DBTPOD_DEPLOYMENT"


class ReportSender:
    """Sends a flow run's report while its block runs, and waits at its end: `with ReportSender() as sender`.

    It never raises and takes seconds at most: what Prefect did not take by then is given up with one warning.
    """

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._failures: list[Exception] = []
        # By their kind, once Prefect has them.
        self._sent: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Give the sender, which has sent nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait some seconds; a thread that is still busy then does not hold up the process's end."""
        timeout = Timeout(_SECONDS)
        for thread in self._threads:
            thread.join(timeout.left)
        if self._failures or any(thread.is_alive() for thread in self._threads):
            error = next(iter(self._failures), None)
            why = f"{type(error).__name__}: {error}" if error else f"no answer in {_SECONDS:.0f} s"
            get_run_logger().warning(
                "The report did not reach Prefect (%s); dbt's own artifacts are on the volume.", why
            )

    def send(self, table: Sequence[Mapping[str, object]], markdown: str, links: Maker | None = None) -> None:
        """Create the artifacts `<deployment>-results` and `<deployment>-report`, with the flow's name without one.

        `links` makes the beginning of the report, by what it asks the server.
        """
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            return
        flow_run, flow_name = context.flow_run, context.flow.name if context.flow else "dbt"
        for kind, suffix, data in (
            ("table", "results", lambda _: _rows(table)),
            ("markdown", "report", lambda client: (links(client, flow_run) if links else "") + markdown),
        ):
            create = partial(self._create, flow_run, flow_name, kind, suffix, data)
            self._threads.append(background(create, "dbtpod-artifact"))
            self._threads[-1].start()

    def amend(self, markdown: str) -> None:
        """Have the report that is sent say this instead."""
        before = tuple(self._threads)

        def replace() -> None:
            for thread in before:
                thread.join()
            try:
                if "markdown" in self._sent:
                    path, new = {"id": self._sent["markdown"]}, {"data": markdown}
                    again_if_busy(lambda client: client.request("PATCH", "/artifacts/{id}", json=new, path_params=path))
            except Exception as error:
                self._failures.append(error)

        self._threads.append(background(replace, "dbtpod-artifact"))
        self._threads[-1].start()

    def _create(
        self, flow_run: FlowRun, flow_name: str, kind: str, suffix: str, data: Callable[[SyncPrefectClient], str]
    ) -> None:
        def create(client: SyncPrefectClient) -> str:
            key = f"{_slug(_deployment(client, flow_run, flow_name))}-{suffix}"
            # Not client.create_artifact(), which has an event sent too, by a worker that a slow API holds up.
            artifact = {"type": kind, "key": key, "data": data(client), "flow_run_id": str(flow_run.id)}
            return str(client.request("POST", "/artifacts/", json=artifact).json()["id"])

        try:
            self._sent[kind] = again_if_busy(create)
        except Exception as error:
            self._failures.append(error)


def _rows(table: Sequence[Mapping[str, object]]) -> str:
    return json.dumps([dict(row) for row in table], default=str)


def _deployment(client: SyncPrefectClient, flow_run: FlowRun, flow_name: str) -> str:
    deployment: UUID | None = flow_run.deployment_id
    if not deployment:
        return flow_name
    return settings.environment().get(DEPLOYMENT) or client.read_deployment(deployment).name


def _slug(name: str) -> str:
    """Write a name as Prefect allows it in a key: lowercase letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
