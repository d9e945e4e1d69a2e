"""The process: `dbtpod reader`."""

import resource
import shutil
import signal
import sys

import uvicorn

from dbtpod.reader import app, settings
from dbtpod.reader.connections import Connection

# What is being sent when the process is to end gets so long.
_ENDING_SECONDS = 2
# Each connection is an open file; more than that, and what they hold is more than a small pod has.
_OPEN_FILES = 16384


def serve(host: str, port: int) -> int:
    """Serve until a signal ends it; the exit code."""
    reader = settings.from_environment(host)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))
    # uvicorn ends what is open, and raises the signal again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        uvicorn.run(
            app.create(reader),
            host=host,
            port=port,
            http=Connection,
            timeout_graceful_shutdown=_ENDING_SECONDS,
            server_header=False,
            ws="none",
        )
    finally:
        shutil.rmtree(reader.cache, ignore_errors=True)
    return 0
