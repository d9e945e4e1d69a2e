"""The file that a dbt command will write to, as profiles.yml says; dbt is not imported.

Only what is certain is said: a profile of another adapter, or one that cannot be read or rendered here, is None, and
dbt says in its own words what is wrong with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dbtpod.dbt import arguments
from dbtpod.dbt.arguments import Arguments

# The usual way to name a path, which needs no template engine.
_VARIABLE = re.compile(r"\s*\{\{\s*env_var\(\s*(['\"])(\w+)\1\s*\)\s*\}\}\s*")
MEMORY = ":memory:"


@dataclass(frozen=True)
class Connection:
    """Where a target of type duckdb stores what is built."""

    path: str  # as the profile has it, rendered
    project_dir: Path  # what a relative path begins at
    profiles_yml: Path
    target: str

    def is_file(self, file: Path) -> bool:
        """Return whether it is that file, whatever links lead to it."""
        is_path = self.path != MEMORY and not re.match(r"\w{2,}:", self.path)
        return is_path and (self.project_dir / self.path).resolve() == file.resolve()


def connection(given: Arguments, environment: Mapping[str, str]) -> Connection | None:
    """Find the connection of a command that is given this environment."""
    try:
        return _connection(given, environment)
    except Exception:  # whatever a template or a file of the user may raise; dbt reports it
        return None


def _connection(given: Arguments, environment: Mapping[str, str]) -> Connection | None:
    """Find the file as dbt does: project, profile, target, path; None where the target is no DuckDB file."""
    here = Path(environment["DBT_PROJECT_DIR"])
    project_dir = here / (given.last("--project-dir") or ".")
    profiles_yml = here / (given.last("--profiles-dir") or environment["DBT_PROFILES_DIR"]) / "profiles.yml"
    render = _Renderer(environment, _load(given.last("--vars") or "{}") or {})
    project = _load((project_dir / "dbt_project.yml").read_text())
    name = given.last("--profile") or arguments.variable(environment, "PROFILE") or render(project["profile"])
    profile = _load(profiles_yml.read_text())[name]
    target = (
        given.last("--target") or arguments.variable(environment, "TARGET") or render(profile.get("target", "default"))
    )
    output = profile["outputs"][target]
    if render(output["type"]) != "duckdb" or output.get("remote"):
        return None
    path = output.get("path", MEMORY)
    # Models go to the default database, which may be an attached one.
    for attached in output.get("attach") or ():
        if output.get("database") and attached.get("alias") == output["database"]:
            path = attached["path"]
    return Connection(str(render(path)), project_dir, profiles_yml, target)


class _Renderer:
    """Renders one value as dbt renders profiles.yml."""

    def __init__(self, environment: Mapping[str, str], given: Mapping[str, Any]) -> None:
        self._environment = environment
        self._given = given

    def __call__(self, value: Any) -> str:
        text = str(value)
        if "{" not in text:
            return text
        if plain := _VARIABLE.fullmatch(text):
            return self._environment[plain[2]]
        # 40 ms, which the usual profile does not need.
        from jinja2 import StrictUndefined
        from jinja2.nativetypes import NativeEnvironment
        from jinja2.sandbox import SandboxedEnvironment

        class Sandboxed(SandboxedEnvironment, NativeEnvironment):
            pass

        template = Sandboxed(undefined=StrictUndefined)
        template.filters |= {"as_bool": bool, "as_native": _same, "as_number": float, "as_text": str}
        return str(template.from_string(text).render(env_var=self._env_var, var=self._var))

    def _env_var(self, name: str, default: Any = None) -> str:
        value = self._environment.get(name, default)
        if value is None:
            raise KeyError(name)
        return str(value)

    def _var(self, name: str, default: Any = None) -> Any:
        value = self._given.get(name, default)
        if value is None:
            raise KeyError(name)
        return value


def _same(value: Any) -> Any:
    return value


def _load(text: str) -> Any:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
