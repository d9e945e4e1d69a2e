"""A plugin of dbt-duckdb, loaded by the effective profile: what differs from pod to pod, set when DuckDB connects.

In profiles.yml the same values would be part of the connection that dbt compares, and void what it has parsed. DuckDB
gets the memory of DBTPOD_MEMORY_LIMIT (such as 1400MB), spills to DBTPOD_TEMP_DIRECTORY and there to DBTPOD_TEMP_LIMIT
at most; a variable that is not set leaves DuckDB's default. Its time zone is UTC, as snapshots store the session's
local time. What the user's profile sets itself stays.

It runs in dbt's process, and imports dbt.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.adapters.events.logging import AdapterLogger
from dbt.config.renderer import ProfileRenderer
from dbt.flags import get_flags

from dbtpod.dbt import lake
from dbtpod.dbt.rendering import template
from dbtpod.environment import environment

_LIMITS = {
    "memory_limit": "DBTPOD_MEMORY_LIMIT",
    "temp_directory": "DBTPOD_TEMP_DIRECTORY",
    "max_temp_directory_size": "DBTPOD_TEMP_LIMIT",
}
# DuckDB's other name for it.
_SAME = {"max_memory": "memory_limit"}


class Plugin(BasePlugin):
    """One connection's."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Render what was left for now. The plugins after this one are configured with it."""
        creds: Any = self.creds
        self._lake = plugin_config.get("lake")
        self._password = ""
        render = _Late()
        for values in (creds.settings, creds.config_options):
            if values:
                values.update(render(values))
        creds.filesystems = creds.filesystems and render(creds.filesystems)
        for plugin in creds.plugins:
            plugin.config = plugin.config and render(plugin.config)
        for attached in creds.attach or ():
            attached.path, attached.options = render(attached.path), render(attached.options)
            if self._lake and attached.alias == self._lake:
                attached.options = attached.options | lake.options(environment(), reads=plugin_config["reads"])
                # DuckDB repeats it in errors, which go to logs.
                attached.path, self._password = lake.split(attached.path)
            if "ducklake:" in attached.path.lower():
                # dbt-duckdb looked for it in the path before it was rendered.
                creds._ducklake_dbs.add(attached.alias or creds.path_derived_database_name(attached.path))

    def update_connection_config(self, creds: Any, config: dict[str, Any]) -> None:
        """Give DuckDB the limits as it opens the file; `settings` of the user, which come after it, count more."""
        if self._lake:
            from dbtpod.dbt import extensions

            config.update(extensions.settings())
        given = environment()
        limits = {name: given[variable] for name, variable in _LIMITS.items() if given.get(variable)}
        own = {_name(key): str(value) for values in (config, creds.settings) for key, value in values.items()}
        of_pod, of_user = limits.get("memory_limit"), own.get("memory_limit")
        if of_pod and of_user and _bytes(of_user) > _bytes(of_pod):
            AdapterLogger("DuckDB").warning(
                f"The profile sets memory_limit to {of_user}, and this pod leaves {of_pod} to DuckDB: it may be killed "
                "before DuckDB says that memory is short. Leave memory_limit out of the profile, or give the pod more "
                "(jobs.resources.limits.memory)."
            )
        taken = {_name(key) for key in config}
        config.update({name: value for name, value in limits.items() if name not in taken})

    def configure_connection(self, conn: Any) -> None:
        """Set the time zone of every cursor; it cannot be given as the file is opened."""
        conn.execute("SET GLOBAL TimeZone = 'UTC'")
        if self._password:
            conn.execute(lake.password_sql(self._password))


class _Late:
    """Renders the values that the effective profile has marked, as dbt renders its profile."""

    def __init__(self) -> None:
        self._renderer = ProfileRenderer(get_flags().VARS)  # type: ignore[no-untyped-call]

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self(each) for each in value]
        text = template(value)
        return value if text is None else self._renderer.render_value(text)


def _name(key: str) -> str:
    return _SAME.get(key.lower(), key.lower())


def _bytes(size: str) -> float:
    """Return the size as DuckDB reads it; what is no size, such as `none`, is infinite."""
    found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(i?)B", size.strip(), re.IGNORECASE)
    if not found:
        return float("inf")
    unit = 1024.0 if found[3] else 1000.0
    return float(found[1]) * math.pow(unit, " KMGT".index(found[2].upper() or " "))
