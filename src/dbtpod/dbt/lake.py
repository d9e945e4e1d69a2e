"""The DuckLake that a target of the profile builds in: dbt is not imported, and nothing is asked of a server.

The user writes it as dbt-duckdb has it, an attached database that models go to:

    type: duckdb
    database: shop
    attach:
      - alias: shop
        path: "ducklake:postgres:host=db dbname=lake user=dbt password={{ env_var('DBT_ENV_SECRET_PASSWORD') }}"
        options: {data_path: "s3://bucket/shop/", metadata_schema: shop}

Each build has a catalog of its own (see the warehouse's package `lake`), so a run gets two options from a file, and not
from the profile: the catalog's schema in PostgreSQL and, where it only reads, the snapshot. dbt would parse everything
again if they were part of its profile. The file is `lake.json`, beside the file that DUCKDB_PATH names, or at
DBTPOD_READABLE_PATH.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from dbtpod.dbt import yaml_file
from dbtpod.dbt.project import MADE, WRITER, facts
from dbtpod.dbt.rendering import Renderer, VariableMissing, template
from dbtpod.errors import SettingsError

FILE = "lake.json"
_SCHEME, _POSTGRES = "ducklake:", "ducklake:postgres:"
_URIS = ("postgres://", "postgresql://")
_PORT = 5432
# Of an address as words, with libpq's quotes.
_PASSWORD = re.compile(r"(?:^|(?<=\s))password\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)\s*")
# A build's schema has a number behind it, and PostgreSQL cuts a name at 63 bytes.
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,49}")
# What says which catalog, which of its snapshots, or may change what others read.
_OURS = {
    *("metadata_schema", "metadata_catalog", "snapshot_version", "snapshot_time", "read_only", "create_if_not_exists"),
    *("automatic_migration", "migrate_if_required", "override_data_path"),
}
_SHAPE = (
    "Write it as an attached database with a name, and name that as `database`, with `path: ducklake:postgres:host=… "
    "dbname=…` and an option `data_path` (docs/growth.md)"
)


@dataclass(frozen=True)
class Lake:
    """Where a DuckLake is."""

    # The schema in PostgreSQL with the records of its builds; `<name>_000001` and so on are the builds' own.
    name: str
    # What SQL calls it.
    alias: str
    # As libpq takes it, with the password.
    address: str = field(repr=False)
    host: str
    port: int
    # The folder, or s3://…, of the data files; it ends with a slash.
    data_path: str
    # As the profile has them, rendered.
    secrets: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def secrets_sql(self) -> Iterator[str]:
        """Yield the statements that give DuckDB the profile's secrets, and the password of PostgreSQL."""
        if password := split(self.address)[1]:
            yield password_sql(password)
        for number, one in enumerate(self.secrets):
            yield _secret_sql(number, one)

    @property
    def attach_path(self) -> str:
        """What DuckDB attaches: it repeats this in errors, so the password is not in it."""
        return _POSTGRES + split(self.address)[0]

    def __str__(self) -> str:
        """Say where it is, and nothing secret."""
        return f"DuckLake `{self.name}` in PostgreSQL at {self.host}:{self.port}, files in {self.data_path}"


def attached(output: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the attached database of a target, if models go there and it is a DuckLake; None otherwise."""
    for one in output.get("attach") or ():
        if output.get("database") and one.get("alias") == output["database"] and _is_lake(one):
            return one  # type: ignore[no-any-return]
    return None


def problem(output: Mapping[str, Any]) -> str:
    """Say why a target that writes to a DuckLake cannot be used; "" where it can, or is none. It follows its name."""
    found = attached(output)
    if found is None:
        is_lake = output.get("is_ducklake") or str(output.get("path", "")).lower().startswith(_SCHEME)
        return f"is a DuckLake by its `path`, where a run cannot choose the catalog of its build. {_SHAPE}." * is_lake
    path, options = str(found.get("path", "")), found.get("options")
    if not path.lower().startswith(_POSTGRES) and "{" not in path.split(":")[0]:
        return f"is a DuckLake whose catalog is not in PostgreSQL, as its readers need it. {_SHAPE}."
    if not isinstance(options, dict) or not options.get("data_path"):
        return f"is a DuckLake without the option `data_path`, the place of its data files. {_SHAPE}."
    name = str(_name(found))
    if "{" not in name and not _NAME.fullmatch(name):
        return (
            f"is a DuckLake with the name {name!r}: give it an option `metadata_schema` of at most 50 small letters, "
            "digits and underscores."
        )
    return ""


def writing(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's target has in place of the attached DuckLake: without the options that a run is given."""
    found = attached(output)
    assert found is not None  # noqa: S101
    options = {key: value for key, value in found["options"].items() if key.lower() not in _OURS}
    return {key: value for key, value in found.items() if key != "read_only"} | {
        "is_ducklake": True,
        "options": options,
    }


def plugin_config(output: Mapping[str, Any], *, reads: bool) -> dict[str, Any]:
    """Return what our plugin of dbt-duckdb has to know."""
    found = attached(output)
    assert found is not None  # noqa: S101
    return {"lake": found["alias"], "name": _name(found), "reads": reads}


def options(environment: Mapping[str, str], *, reads: bool) -> dict[str, Any]:
    """Return the options of this run's ATTACH."""
    file = Path(environment["DBTPOD_READABLE_PATH"]) if reads else Path(environment["DUCKDB_PATH"]).with_name(FILE)
    found = json.loads(file.read_text())
    if reads:
        return {"metadata_schema": found["schema"], "snapshot_version": int(found["snapshot"]), "read_only": True}
    # As a text: dbt-duckdb leaves out what is False.
    return {"metadata_schema": found["schema"], "create_if_not_exists": "false"}


def split(address: str) -> tuple[str, str]:
    """Return an address of PostgreSQL without its password, and that.

    >>> split("host=db password='a b' user=dbt"), split("postgresql://dbt:a%20b@db/lake")
    (('host=db user=dbt', 'a b'), ('postgresql://dbt@db/lake', 'a b'))
    """
    scheme, address = (_POSTGRES, address.removeprefix(_POSTGRES)) if address.startswith(_POSTGRES) else ("", address)
    if address.startswith(_URIS):
        parts = urlsplit(address)
        user, _, place = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        without = parts._replace(netloc=f"{name}@{place}" if name else place)
        return scheme + urlunsplit(without), unquote(password)
    found = _PASSWORD.search(address)
    if found is None:
        return scheme + address, ""
    text = found[1][1:-1] if found[1].startswith("'") else found[1]
    bare = (address[: found.start()] + address[found.end() :]).strip()
    return scheme + bare, re.sub(r"\\(.)", r"\1", text)


def password_sql(password: str) -> str:
    """Return the statement by which DuckDB uses this password for PostgreSQL wherever an address has none."""
    return f"CREATE SECRET (TYPE postgres, PASSWORD {_value(password)})"


def find(folder: Path, environment: Mapping[str, str]) -> Lake:
    """Return the DuckLake of the project's default target; SettingsError names each variable that has no value.

    For a project whose effective profile was made.
    """
    known = facts(folder)
    target = known.default(environment) if known else None
    if known is None or target is None:
        raise SettingsError(f"{folder}: it is not known which target runs use: set DBT_TARGET.")
    where = f"{folder}: profile `{known.profile}`, target `{target}`"
    try:
        output = yaml_file.read(folder / MADE / WRITER / "profiles.yml")[known.profile]["outputs"][target]
        found = attached(output) or {}
        config = output["plugins"][0]["config"]
        path, data_path = found["path"], found["options"]["data_path"]
    except (KeyError, TypeError, IndexError) as error:
        raise SettingsError(f"{where} is no DuckLake. {_SHAPE}.") from error
    render = _Rendering(Renderer(environment))
    address = render(path).removeprefix(_POSTGRES)
    name = render(config["name"])
    secrets = tuple(render(one) for one in output.get("secrets") or ())
    lasting = render(output.get("settings") or {})
    place = render(data_path)
    if render.missing:
        raise SettingsError(
            f"{where} reads {', '.join(sorted(render.missing))}, and that has no value here: give it to the pods, from "
            "a Secret if it is one (jobs.envFrom)."
        )
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{where}: `metadata_schema` is {name!r}: small letters, digits and underscores only.")
    if "://" not in place and not place.startswith("/"):
        raise SettingsError(f"{where}: `data_path` is {place!r}: it must be absolute, or an address such as s3://….")
    host, port = _server(address)
    return Lake(name, found["alias"], address, host, port, place.rstrip("/") + "/", secrets, lasting)


class _Rendering:
    """Renders values, and remembers the variables that have none."""

    def __init__(self, render: Renderer) -> None:
        self._render = render
        self.missing: set[str] = set()

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self(each) for each in value]
        if not isinstance(value, str):
            return value
        try:
            # What is left to our plugin is a template in a template.
            once = self._render(value)
            return self._render(later) if (later := template(once)) is not None else once
        except VariableMissing as missing:
            self.missing.add(str(missing))
            return ""


def _is_lake(one: Mapping[str, Any]) -> bool:
    return bool(one.get("is_ducklake")) or _SCHEME in str(one.get("path", "")).lower()


def _name(found: Mapping[str, Any]) -> Any:
    return (found.get("options") or {}).get("metadata_schema") or found["alias"]


def port(path: str) -> int:
    """Return the port of PostgreSQL that an attached `ducklake:postgres:…` names; 5432 where it is a variable."""
    return _server(path.removeprefix(_POSTGRES))[1]


def _server(address: str) -> tuple[str, int]:
    """Return the host and the port of an address as libpq has it: words, or a URI."""
    if address.startswith(_URIS):
        parts = urlsplit(address)
        return parts.hostname or "localhost", parts.port or _PORT
    words = dict(_words(address))
    port = words.get("port", "")
    return words.get("host") or words.get("hostaddr") or "localhost", int(port) if port.isdecimal() else _PORT


def _words(address: str) -> Iterator[tuple[str, str]]:
    try:
        words = shlex.split(address)
    except ValueError:
        words = address.split()
    for word in words:
        name, _, value = word.partition("=")
        yield name, value


def _secret_sql(number: int, given: Mapping[str, Any]) -> str:
    """Write a secret of the profile as SQL has it, as dbt-duckdb does."""
    bare = {"type", "provider"}
    words = [
        f"{key} {value if key in bare else _value(value)}"
        for key, value in given.items()
        if key not in ("name", "persistent", "scope") and value is not None
    ]
    scope = given.get("scope") or []
    words += [f"scope {_literal(one)}" for one in ([scope] if isinstance(scope, str) else scope)]
    return f"CREATE SECRET secret_{number} ({', '.join(words)})"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"MAP {{{', '.join(f'{_literal(str(key))}: {_literal(str(each))}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(_literal(str(each)) for each in value)}]"
    return _literal(str(value))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
