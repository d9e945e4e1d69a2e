"""The file that a dbt command will write to, as profiles.yml says; dbt is not imported.

Only what is certain is said: a profile that cannot be read or rendered here is None, and dbt says in its own words what
is wrong with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from dbtpod.dbt import arguments, lake, yaml_file
from dbtpod.dbt.arguments import Arguments
from dbtpod.dbt.project import DUCKDB, DUCKLAKE
from dbtpod.dbt.rendering import Renderer
from dbtpod.errors import SettingsError

MEMORY = ":memory:"


@dataclass(frozen=True)
class Connection:
    """Where a target stores what is built."""

    adapter: str
    path: str  # as the profile has it, rendered; empty where it is no DuckDB
    project_dir: Path  # what a relative path begins at
    profiles_yml: Path
    target: str
    # Of a server, as far as the profile says it: None where its adapter has no such key.
    host: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """Say where it is, and nothing secret."""
        server = f" at {self.host}{f':{self.port}' if self.port else ''}" if self.host else ""
        return f"{self.adapter}{server}, target {self.target}"

    def is_file(self, file: Path) -> bool:
        """Return whether it is that file, whatever links lead to it."""
        is_path = self.adapter == DUCKDB and self.path != MEMORY and not scheme(self.path)
        return is_path and (self.project_dir / self.path).resolve() == file.resolve()


def connection(given: Arguments, environment: Mapping[str, str]) -> Connection | None:
    """Find the connection of a command that is given this environment."""
    try:
        return _connection(given, environment)
    except Exception:  # whatever a template or a file of the user may raise; dbt reports it
        return None


def rendered(given: Arguments, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the target of such a command, its values as dbt would render them, secrets among them.

    SettingsError where that cannot be done.
    """
    try:
        found = _target(given, environment)
        return {key: found.render(value) for key, value in found.output.items() if value is not None}
    except Exception as error:  # whatever a template or a file of the user may raise
        raise SettingsError(f"The profile's target cannot be read: {type(error).__name__}: {error}") from error


def scheme(path: str) -> str:
    """Return what is before the colon of a path that is no file's, such as `md` or `s3`; else nothing."""
    found = re.match(r"(\w{2,}):", path)
    return found[1].lower() if found else ""


def catalog(path: str) -> str:
    """Return the catalog's name that dbt-duckdb and DuckDB give to a file.

    >>> catalog("data/shop.dev.duckdb")
    'shop'
    """
    return urlparse(path).path.rpartition("/")[2].lstrip(".").split(".")[0]


def attached(output: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the attached database that models go to, where it is not the target's own; None otherwise."""
    for one in output.get("attach") or ():
        if output.get("database") and one.get("alias") == output["database"]:
            return one  # type: ignore[no-any-return]
    return None


@dataclass(frozen=True)
class _Target:
    name: str
    output: Mapping[str, Any]
    render: Renderer
    project_dir: Path
    profiles_yml: Path


def _target(given: Arguments, environment: Mapping[str, str]) -> _Target:
    here = Path(environment["DBT_PROJECT_DIR"])
    project_dir = here / (given.last("--project-dir") or ".")
    profiles_yml = here / (given.last("--profiles-dir") or environment["DBT_PROFILES_DIR"]) / "profiles.yml"
    render = Renderer(environment, yaml_file.parse(given.last("--vars") or "{}") or {})
    name = given.last("--profile") or arguments.variable(environment, "PROFILE")
    profile = yaml_file.read(profiles_yml)[name or render(yaml_file.read(project_dir / "dbt_project.yml")["profile"])]
    target = (
        given.last("--target") or arguments.variable(environment, "TARGET") or render(profile.get("target", "default"))
    )
    return _Target(target, profile["outputs"][target], render, project_dir, profiles_yml)


def _connection(given: Arguments, environment: Mapping[str, str]) -> Connection:
    chosen = _target(given, environment)
    output, render = chosen.output, chosen.render
    adapter = render(output["type"])
    # Models go to the default database, which may be an attached one.
    if lake.attached(output):
        return _of_lake(chosen, environment)
    found = attached(output) or output
    is_remote = adapter != DUCKDB or output.get("remote")
    path = "" if is_remote else render(found.get("path") or MEMORY)
    server = _server(output, render) if adapter != DUCKDB else (None, None)
    return Connection(adapter, path, chosen.project_dir, chosen.profiles_yml, chosen.name, *server)


def _of_lake(chosen: _Target, environment: Mapping[str, str]) -> Connection:
    found = lake.find(Path(environment["DBT_PROJECT_DIR"]), {**environment, "DBT_TARGET": chosen.name})
    return Connection(DUCKLAKE, "", chosen.project_dir, chosen.profiles_yml, chosen.name, found.host, found.port)


def _server(output: Mapping[str, Any], render: Renderer) -> tuple[str | None, int | None]:
    """Return the host and the port of a target, as most adapters call them."""
    host, port = (render(output[key]).strip() if output.get(key) else "" for key in ("host", "port"))
    return host or None, int(port) if port.isdecimal() else None
