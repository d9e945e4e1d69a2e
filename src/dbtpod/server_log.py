"""What Prefect's server writes of a webhook that answered with an error, without the address: that is a secret."""

import logging
import re

from prefect.logging.handlers import PrefectConsoleHandler

# httpx's words. The address of a Slack or Teams webhook is all that it takes to write there.
_ADDRESS = re.compile(r"(for url '\w+://[^/?#']*)[^']*'")


class Handler(PrefectConsoleHandler):
    """Prefect's own handler; the chart names this one in PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record, its traceback too, with the webhook's host alone."""
        return hidden(super().format(record))


def hidden(text: str) -> str:
    """Leave of each address in httpx's errors what is no secret.

    >>> hidden("Client error '404 Not Found' for url 'https://hooks.slack.com/services/T0/B0/secret'")
    "Client error '404 Not Found' for url 'https://hooks.slack.com/…'"
    """
    return _ADDRESS.sub("\\1/\N{HORIZONTAL ELLIPSIS}'", text)
