"""One value of profiles.yml or dbt_project.yml, rendered as dbt renders it; dbt is not imported."""

import re
from collections.abc import Mapping
from typing import Any

_LATE = "{# dbtpod #}"
# Of a text with such a name in it, which is not one that it has put there itself, dbt makes nothing at all.
_SECRET = ("DBT_ENV_SECRET_", "DBT_ENV_(SECRET)_")
# The usual ways to name a variable, which need no template engine.
_VARIABLE = re.compile(r"\s*\{\{\s*env_var\(\s*(['\"])(\w+)\1\s*(?:,\s*(['\"])([^'\"\\{}]*)\3\s*)?\)\s*\}\}\s*")


def deferred(text: str) -> str:
    """Write a template so that dbt takes it for text as it reads the profile; `duckdb_plugin` renders it.

    >>> deferred("{{ env_var('KEY') }}")
    "{% raw %}{# dbtpod #}{{ env_var('KEY') }}{% endraw %}"
    """
    return f"{{% raw %}}{_LATE}{text.replace(*_SECRET)}{{% endraw %}}"


def template(value: Any) -> str | None:
    """Return the template of a deferred value as dbt has read it; None where it is another value."""
    is_deferred = isinstance(value, str) and value.startswith(_LATE)
    return value.removeprefix(_LATE).replace(*reversed(_SECRET)) if is_deferred else None


def variable(value: Any) -> str | None:
    """Return the name of the variable that a value consists of; None where it is anything else.

    >>> variable("{{ env_var('STAGE', 'dev') }}")
    'STAGE'
    """
    found = _VARIABLE.fullmatch(str(value))
    return found and found[2]


class VariableMissing(Exception):
    """A variable of the environment has no value and no default; the text is its name."""


class Renderer:
    """Renders with these variables of the environment, and these `--vars`.

    >>> Renderer({"SCHEMA": "prod"})("{{ env_var('SCHEMA') }}_{{ env_var('SUFFIX', 'eu') }}")
    'prod_eu'
    """

    def __init__(self, environment: Mapping[str, str], given: Mapping[str, Any] | None = None) -> None:
        self._environment = environment
        self._given = given or {}

    def __call__(self, value: Any) -> str:
        """Render a value; raises VariableMissing, and whatever a template of the user may raise."""
        text = str(value)
        if "{" not in text:
            return text
        if plain := _VARIABLE.fullmatch(text):
            return self._env_var(plain[2], plain[4])
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
            raise VariableMissing(name)
        return str(value)

    def _var(self, name: str, default: Any = None) -> Any:
        value = self._given.get(name, default)
        if value is None:
            raise KeyError(name)
        return value


def _same(value: Any) -> Any:
    return value
