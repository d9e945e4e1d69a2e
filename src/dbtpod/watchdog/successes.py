"""When each deployment last succeeded: read once for each, and then from what has completed since."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from dbtpod.watchdog.server import Server

# A success is reported this late at most; a round is 5 s, and a deployment of its own a request.
EVERY_SECONDS = 60.0
# Of the deployments that are not known yet, so many in one round: a thousand would hold up the watchdog.
AT_ONCE = 50
# What ended while the last answer was made is not missed.
OVERLAP = timedelta(minutes=2)


@dataclass
class Successes:
    """What is known, by the deployment's full name."""

    server: Server
    # By the deployment's id.
    _times: dict[str, float] = field(default_factory=dict)
    _looked_at: datetime | None = None
    _next: float = 0.0

    def times(self) -> dict[str, float] | None:
        """Return each deployment's last success as a timestamp; None where it is too early to look again."""
        if time.monotonic() < self._next:
            return None
        found = self.server.deployments()
        for key in [key for key in found if key not in self._times][:AT_ONCE]:
            self._times[key] = self.server.last_success(key) or found[key].created
        now = datetime.now(UTC)
        for key, at in self.server.completed_since((self._looked_at or now) - OVERLAP):
            if key in self._times:
                self._times[key] = max(self._times[key], at)
        self._looked_at = now
        # The rest of many at the next round.
        self._next = time.monotonic() + (EVERY_SECONDS if found.keys() <= self._times.keys() else 0)
        return {found[key].name: at for key, at in self._times.items() if key in found}
