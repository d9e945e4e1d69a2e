"""What is logged to loggers whose records pytest's caplog does not get: those of Prefect's runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Keeping(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def kept(level: int, *loggers: str) -> Iterator[list[str]]:
    """Yield the list of texts that these loggers get, from that level on."""
    handler = _Keeping(level)
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
    try:
        yield handler.texts
    finally:
        for name in loggers:
            logging.getLogger(name).removeHandler(handler)
