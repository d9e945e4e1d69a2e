"""Connections of clients that send nothing, or read nothing: they are closed after a while."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# For the first bytes of a request, and from there to its end.
SILENT_SECONDS = 30.0
# A client that reads less than 48 KiB in this time (uvicorn's water marks) has lost its interest.
STALLED_SECONDS = 30.0


class Connection(H11Protocol):
    """uvicorn's own, which has no such limits; by the methods of asyncio.Protocol alone."""

    _quiet: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Give the client some time for its request."""
        super().connection_made(transport)
        self._quiet = self.loop.call_later(SILENT_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Look whether a whole request is there now."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            _cancel(self._quiet)
            self._quiet = None
        elif self._quiet is None:
            self._quiet = self.loop.call_later(SILENT_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """Give the client some time to read."""
        self._stall = self.loop.call_later(STALLED_SECONDS, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """See that it does."""
        _cancel(self._stall)
        self._stall = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget both."""
        for timer in (self._quiet, self._stall):
            _cancel(timer)
        super().connection_lost(exc)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer:
        timer.cancel()
