"""The process: `dbtpod reader`."""

import shutil

import uvicorn

from dbtpod.reader import app, settings

# What is being sent when the process is to end gets so long.
_ENDING_SECONDS = 2


def serve(host: str, port: int) -> int:
    """Serve until a signal ends it; the exit code."""
    reader = settings.from_environment(host)
    try:
        uvicorn.run(
            app.create(reader),
            host=host,
            port=port,
            timeout_graceful_shutdown=_ENDING_SECONDS,
            server_header=False,
            ws="none",
            lifespan="off",
        )
    finally:
        shutil.rmtree(reader.cache, ignore_errors=True)
    return 0
