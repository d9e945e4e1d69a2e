"""One TLS context for all clients of Prefect's API in a process, in place of one for each.

    tls.share()

Prefect makes a client for a run's requests, its logs, its events and more, and reads all certificate authorities for
each: 40 ms of CPU and 0.7 MB, also where the API is plain HTTP. A context may serve any number of connections.
"""

import ssl
from functools import cache
from types import SimpleNamespace
from typing import Any

from prefect.client import orchestration

from dbtpod.faststart import parts


def share() -> None:
    """Have the clients that Prefect makes from here on share the context of their certificate file."""
    if parts.TLS_CONTEXT.is_usable():
        # The module's own view of `ssl`.
        orchestration.ssl = SimpleNamespace(**vars(ssl) | {"create_default_context": _context})  # type: ignore[assignment, attr-defined]


def _context(**options: Any) -> ssl.SSLContext:
    # Without a file it is one that is not to verify, and is changed by who asked for it.
    return _of(options["cafile"]) if options.keys() == {"cafile"} else ssl.create_default_context(**options)


@cache
def _of(cafile: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)
