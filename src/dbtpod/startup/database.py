"""PostgreSQL for Prefect's server: its address, and the wait until it can be used, which says what it waits for."""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from urllib.parse import parse_qsl, unquote

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from dbtpod.errors import SettingsError

# As Prefect names them.
VARIABLE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
FIELDS = "PREFECT_SERVER_DATABASE_"

DRIVER = "postgresql+asyncpg"
# What other programs write for the same, such as the Secrets of PostgreSQL's operators.
ALIASES = ("postgresql", "postgres", DRIVER)
FORM = "postgresql://user:password@host:5432/database"
CONNECT_SECONDS = 5.0
PAUSE_SECONDS = 2.0
BETWEEN_LINES_SECONDS = 30.0

Say = Callable[[str], None]


def address(environment: Mapping[str, str]) -> URL | None:
    """Return the database's address, from a URL or from fields; None for SQLite. SettingsError where it is none."""
    if text := environment.get(VARIABLE):
        return _from_url(text.strip())
    if not (host := environment.get(f"{FIELDS}HOST")):
        return None
    url = URL.create(
        DRIVER,
        host=host,
        port=int(environment.get(f"{FIELDS}PORT") or 5432),
        username=environment.get(f"{FIELDS}USER"),
        password=environment.get(f"{FIELDS}PASSWORD"),
    )
    return _with_database(url, environment.get(f"{FIELDS}NAME", ""))


def wait(environment: Mapping[str, str], say: Say) -> dict[str, str]:
    """Wait until the database takes a connection; return the variables that give Prefect its address.

    It does not give up: the pod is not Ready meanwhile, its startup probe bounds it, and an exit would only be a crash
    loop. What it waits for is said at once, when it changes, and each half minute.
    """
    before, next_line, begun = "", 0.0, time.monotonic()
    for _ in _paused():
        try:
            url = address(environment)
            problem = asyncio.run(_problem(url)) if url else ""
        except SettingsError as error:
            url, problem = None, str(error)
        if not problem:
            break
        now = time.monotonic()
        if problem != before or now >= next_line:
            say(f"Waiting for the database since {now - begun:.0f} s. {problem}")
            before, next_line = problem, now + BETWEEN_LINES_SECONDS
    return {VARIABLE: url.render_as_string(hide_password=False)} if url else {}


def _paused() -> Iterator[int]:
    for number in count():
        if number:
            time.sleep(PAUSE_SECONDS)
        yield number


def tls_mode(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the URL's sslmode as the variable that the driver reads: its parameter is not SQLAlchemy's."""
    query = environment.get(VARIABLE, "").strip().partition("?")[2]
    modes = [value for name, value in parse_qsl(query) if name == "sslmode"]
    return {"PGSSLMODE": modes[-1]} if modes else {}


def _from_url(text: str) -> URL:
    """Read a URL in any of its usual forms; no error of it repeats the text, as a password is in it."""
    wrong = f"What the Secret has as the database's URL is none, such as {FORM}: "
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ALIASES:
        named = f"it begins with {scheme}://" if separator else "it has no ://"
        raise SettingsError(f"{wrong}{named}. server.database is for PostgreSQL; without it the server uses SQLite.")
    if rest.count("@") > 1:
        raise SettingsError(
            f"{wrong}it has more than one @. Write the password's as %40, or give the password as it is: "
            "server.database.host, user, name and passwordSecret in place of the URL."
        )
    try:
        url = make_url(f"{DRIVER}://{rest}").difference_update_query(["sslmode"])
    except (ArgumentError, ValueError):
        raise SettingsError(
            f"{wrong}its host, port or query cannot be read. Percent-encode what is special in user and password."
        ) from None
    if url.host and url.database:
        url = _with_database(url, unquote(url.database))
    else:
        raise SettingsError(f"{wrong}it names no {'database' if url.host else 'host'}.")
    return url


def _with_database(url: URL, name: str) -> URL:
    """Name the database where SQLAlchemy and the driver read the same: only one of them decodes a URL's path."""
    if re.fullmatch(r"[\w.-]*", name, re.ASCII):
        return url.set(database=name)
    return URL.create(url.drivername, url.username, url.password, url.host, url.port, None, {"database": name})


async def _problem(url: URL) -> str:
    """Connect once, as Prefect will, and say what is wrong; empty where nothing is."""
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": CONNECT_SECONDS})
    try:
        async with engine.connect():
            return ""
    except (DBAPIError, OSError, TimeoutError, ValueError, TypeError, asyncpg.PostgresError) as error:
        database = url.query.get("database") or url.database
        place = f"PostgreSQL at {url.host}:{url.port or 5432} (database {database}, user {url.username})"
        return f"{place}: {_cause(error)}"
    finally:
        await engine.dispose()


def _cause(error: BaseException) -> str:
    """Say what is wrong, and what to do, from what the driver raised."""
    original = getattr(error, "orig", None) or error
    cause = original.__cause__ or original
    said = str(cause).strip().splitlines()[0].rstrip(".") if str(cause).strip() else type(cause).__name__
    match cause:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            todo = "Correct user and password in the Secret; no restart is needed"
        case asyncpg.InvalidCatalogNameError():
            todo = "Create it, or correct server.database.name"
        case ssl.SSLError():
            todo = "Check server.database.sslMode, and the CA in server.database.caSecret"
        case socket.gaierror():
            todo = "There is no such host: correct server.database.host"
        case TimeoutError():
            said, todo = "no answer", "Is it running, and does a network policy let the server reach it?"
        case OSError():
            todo = "Is it running, and does a network policy let the server reach it?"
        case _:
            todo = ""
    return f"{said}. {todo}".strip()
