"""What the reader is started with, read from the environment; every wrong setting is named at once."""

import ipaddress
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dbtpod import settings
from dbtpod.dbt import arguments, process, profile
from dbtpod.dbt.project import Project
from dbtpod.errors import SettingsError
from dbtpod.warehouse import warehouse
from dbtpod.warehouse.lake.ducklake import DuckLake
from dbtpod.warehouse.remote import Remote
from dbtpod.warehouse.warehouse import DuckDBFile, InPlace

PATH = "DBTPOD_READER_PATH"
AUTH = "DBTPOD_READER_AUTH"
DOWNLOADS = "DBTPOD_READER_DOWNLOADS"
TABLE_MB = "DBTPOD_READER_TABLE_MB"


@dataclass(frozen=True)
class Reader:
    """What is read, and how it is served."""

    # Its volume is mounted read-only in a pod: nothing is written there.
    kept: DuckDBFile | DuckLake | Remote
    # Everything is below it: "/reader", or "" where the reader has an address of its own.
    path: str
    # "user:password"; None where everybody who reaches the address may read.
    login: str | None
    # Prefect's API, to ask for the next runs, and its login; None where there is none.
    api: str | None
    api_login: str | None
    # Where people open Prefect's pages; None where there is nothing to link to.
    ui_url: str | None
    # The only folder that is written to.
    cache: Path
    # So many files are sent at a time.
    downloads: int = 32
    # Where the data is that is not here: a database server, as far as the profile says it without secrets.
    server: str = ""
    # So large may the file be that is made of one table; the cache has room for eight of them (tables.AT_A_TIME).
    table_bytes: int = 512 * 10**6


def from_environment(host: str, given: Mapping[str, str] | None = None) -> Reader:
    """Read the settings of a reader that listens at `host`; SettingsError names each that is missing or wrong."""
    values = settings.environment() if given is None else given
    read = settings.from_environment(values)
    kept = warehouse.of(read)
    problems: list[str] = []
    if isinstance(kept, InPlace):
        problems.append("DBTPOD_PUBLISH is false, so runs build in place: there are no generations to read.")
    path = values.get(PATH, "/reader").rstrip("/")
    if not re.fullmatch("(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", path):
        problems.append(f"{PATH} is {path!r}: it must be a path such as /reader, of letters, digits, - and _.")
    login = values.get(AUTH) or None
    if login and not login.partition(":")[2]:
        problems.append(f"{AUTH} must be user:password.")
    if not login and not _is_loopback(host):
        problems.append(f"{AUTH} is not set: without a login, the reader listens at 127.0.0.1 only, not at {host}.")
    downloads = _number(values, DOWNLOADS, 32, problems)
    megabytes = _number(values, TABLE_MB, 512, problems)
    if problems or isinstance(kept, InPlace):
        raise SettingsError("\n".join(problems))
    return Reader(
        kept=kept,
        server=_server(warehouse.project(read), values) if isinstance(kept, DuckLake | Remote) else "",
        path=path,
        login=login,
        api=values.get("PREFECT_API_URL") or None,
        api_login=values.get("PREFECT_API_AUTH_STRING") or None,
        ui_url=values.get("PREFECT_UI_URL") or None,
        cache=Path(tempfile.mkdtemp(prefix="dbtpod-reader-")),
        downloads=downloads,
        table_bytes=megabytes * 10**6,
    )


def _server(project: Project, values: Mapping[str, str]) -> str:
    environment = process.environment(project, project.folder, values)
    found = profile.connection(arguments.parse(["build"]), environment)
    return str(found or "a database server, which the profile names")


def _number(values: Mapping[str, str], name: str, default: int, problems: list[str]) -> int:
    value = values.get(name, str(default))
    if not re.fullmatch("[1-9][0-9]{0,5}", value, re.ASCII):
        problems.append(f"{name} is {value!r}: it must be a whole number from 1 to 999999.")
        return default
    return int(value)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
