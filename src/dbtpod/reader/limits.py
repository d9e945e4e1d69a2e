"""How many are served at a time, so that no number of clients takes more memory or threads than there is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# For so many of the places others may wait: a client that asks for small pieces gets its turn soon.
_WAITING = 4


class Full(Exception):
    """All places are taken, and stayed so."""


class Places:
    """A number of places; a few wait a short time for one."""

    def __init__(self, number: int, patience: float) -> None:
        self._free = asyncio.Semaphore(number)
        self._most_waiting = _WAITING * number
        self._waiting = 0
        self._patience = patience

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Have a place until the block ends; Full where none became free in time."""
        if self._waiting >= self._most_waiting:
            raise Full
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._free.acquire()
        except TimeoutError as error:
            raise Full from error
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
