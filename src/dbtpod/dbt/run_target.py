"""A target of the user's profile as a run has it: with the warehouse's path, and with our plugin of dbt-duckdb.

The plugin gives DuckDB its limits when it connects. And it renders what is deferred to it: dbt parses everything again
when a setting of the connection is another than before, so those that say nothing about models (`settings`, `attach`,
the configuration of plugins) and name a variable are text for dbt. A password that only a pod has does then not void
what was parsed without it.
"""

import re
from collections.abc import Mapping
from typing import Any

from dbtpod.dbt import lake
from dbtpod.dbt.rendering import deferred

PLUGIN = {"module": "dbtpod.dbt.duckdb_plugin", "alias": "dbtpod"}
_WRITES, _READS = "{{ env_var('DUCKDB_PATH') }}", "{{ env_var('DBTPOD_READABLE_PATH') }}"


def writing(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return a target as a run that writes has it."""
    return _of_lake(output, reads=False) if lake.attached(output) else _changed(output, _WRITES, {})


def reading(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return a target as a run that reads what is published has it."""
    if lake.attached(output):
        return _of_lake(output, reads=True)
    return _changed(output, _READS, {"access_mode": "READ_ONLY"})


def late(value: Any) -> Any:
    """Return the value with every text in it that names a variable marked as one that the plugin renders.

    >>> late({"s3_secret_access_key": "{{ env_var('KEY') }}", "s3_region": "eu"})
    {'s3_secret_access_key': "{% raw %}{# dbtpod #}{{ env_var('KEY') }}{% endraw %}", 's3_region': 'eu'}
    """
    if isinstance(value, dict):
        return {key: late(each) for key, each in value.items()}
    if isinstance(value, list):
        return [late(each) for each in value]
    if isinstance(value, str) and re.search(r"\benv_var\b", value) and not re.search(r"\b(end)?raw\b", value):
        return deferred(value)
    return value


def _of_lake(output: Mapping[str, Any], *, reads: bool) -> dict[str, Any]:
    """Return a target that builds in an attached DuckLake: DuckDB itself keeps nothing.

    One node at a time: with several, DuckLake has lost what they committed (duckdb/ducklake#1404). DuckDB uses all
    cores for each.
    """
    found = lake.attached(output)
    others = [lake.writing(output) if one is found else one for one in output["attach"]]
    made = _changed({**output, "attach": others, "threads": 1}, ":memory:", {})
    made["plugins"][0] = PLUGIN | {"config": late(lake.plugin_config(output, reads=reads))}
    return made


def _changed(output: Mapping[str, Any], path: str, options: Mapping[str, str]) -> dict[str, Any]:
    made = {"type": output["type"], "path": path} | {key: output[key] for key in output if key not in ("type", "path")}
    own = {key: value for key, value in (output.get("config_options") or {}).items() if key.lower() != "access_mode"}
    if own or options or "config_options" in output:
        made["config_options"] = late(own) | options
    made |= {key: late(made[key]) for key in ("settings", "filesystems", "motherduck_token") if key in made}
    if "attach" in made:
        made["attach"] = _late_in(output["attach"], "path", "options")
    # Ours is the first: it renders what the others are configured with.
    made["plugins"] = [PLUGIN, *_late_in(output.get("plugins"), "config")]
    return made


def _late_in(items: Any, *keys: str) -> list[dict[str, Any]]:
    return [{key: late(value) if key in keys else value for key, value in item.items()} for item in items or ()]
