"""Prefect's server in the process of the run that it is for: a second process would import half of the same again.

Its address must be known before Prefect is imported, so the socket is there first:

    with embedded.listening() as listener:
        ...  # PREFECT_API_URL
        with embedded.running(listener, place):
            ...
"""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from dbtpod.errors import SettingsError
from dbtpod.laptop.place import Place
from dbtpod.timeout import Timeout

# The first start makes the database, which takes a loaded machine a minute.
START_SECONDS = 240.0
# What is still to be written at its end.
STOP_SECONDS = 20.0
_PAUSE_SECONDS = 0.02


def listen() -> socket.socket:
    """Take a free port of this machine, which no other process then gets."""
    return socket.create_server(("127.0.0.1", 0))


def api_url(listener: socket.socket) -> str:
    """Return where the server will answer."""
    return f"http://127.0.0.1:{listener.getsockname()[1]}/api"


@contextmanager
def running(listener: socket.socket, place: Place) -> Iterator[None]:
    """Have a server without UI and schedules answer there until the block ends."""
    import uvicorn
    from prefect.server.api.server import create_app

    app = create_app(ephemeral=True, final=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level=logging.ERROR, lifespan="on"))
    thread = threading.Thread(target=server.run, args=([listener],), name="prefect-server", daemon=True)
    thread.start()
    wait = Timeout(START_SECONDS)
    while not server.started:
        if not thread.is_alive() or wait.is_over:
            raise SettingsError(
                f"Prefect's server did not start with the database {place.prefect / 'prefect.db'}: the reason is "
                "above. A database of a newer Prefect, or a damaged one, can be moved away: it has the history of "
                "runs, and nothing of the warehouse."
            )
        wait.pause(_PAUSE_SECONDS)
    place.note_migrated()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)
