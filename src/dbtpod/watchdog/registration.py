"""Registers again where Prefect's server has not what this release registers: its database was lost or replaced.

`dbtpod.register` writes a digest of what it registered into the description of the work pool. It is the chart's, and
in the worker's own pod template, so that any verb of Helm that changes it, a rollback too, is noticed here. At first
Helm's hook is given time: it runs when the worker is Ready, and says in the terminal what is wrong.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from dbtpod.watchdog.cluster import Cluster, Object, is_live
from dbtpod.watchdog.ended import failed_at
from dbtpod.watchdog.owner import Mark, Owner, taken
from dbtpod.watchdog.server import Server
from dbtpod.watchdog.sight import age
from dbtpod.watchdog.watch import Watch

# Helm's hook, which comes a few seconds after the worker is Ready, is left to do it.
PATIENCE_SECONDS = 40
# A registration that failed for an error in the file fails again.
AGAIN_SECONDS = 300
# One that ended well has written the digest; if it is not there after this time, it was lost since.
DONE_SECONDS = 60


@dataclass
class Registration:
    """One release's registration: the digest of what it registers, and the Job that does it."""

    server: Server
    cluster: Cluster
    watch: Watch
    digest: str
    manifest: Path
    worker: str
    own: Owner

    def others(self) -> str:
        """Say that the pool belongs to another release; empty where it does not."""
        other = self.server.owner()
        return taken(self.server.pool, other, self.own) if other and not other.is_same(self.own) else ""

    def missing(self) -> str:
        """Say what is missing on the server of what this release registers, and what is done; empty for nothing."""
        pool = self.server.work_pool()
        mark = Mark.written(pool.get("description")) if pool else Mark()
        if mark.digest == self.digest or self.watch.seconds("not registered") < PATIENCE_SECONDS:
            return ""
        if mark.owner and not mark.owner.is_same(self.own):
            return ""  # it would be refused
        if self._is_superseded():
            return ""
        newest = max(self.cluster.registrations(), key=_created, default=None)
        if newest is None or self._may_be_followed(newest):
            name = self.cluster.create_job(json.loads(self.manifest.read_text()))
            return self._say(f"Job {name} registers it now")
        if not failed_at(newest):
            return self._say("the registration is running")
        said = self.cluster.last_lines(_name(newest))
        return self._say(f"the registration failed, and is tried again every {AGAIN_SECONDS // 60} minutes: {said}")

    def _may_be_followed(self, job: Object) -> bool:
        return not is_live(job) and age(job) >= (AGAIN_SECONDS if failed_at(job) else DONE_SECONDS)

    def _say(self, what: str) -> str:
        return f"Prefect's server has not what this release registers, so no schedule runs: {what}."

    def _is_superseded(self) -> bool:
        """Whether a newer worker is there: then this one's release is the old one."""
        born = {_name(pod): _created(pod) for pod in self.cluster.worker_pods()}
        return any(at > born.get(self.worker, "") for name, at in born.items() if name != self.worker)


def _created(item: Object) -> str:
    return str(item["metadata"]["creationTimestamp"])


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
