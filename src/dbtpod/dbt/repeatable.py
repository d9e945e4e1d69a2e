"""Which nodes may run twice: those that leave the same as if they had run once.

dbt says after its commit that a node ended. Where it is killed in between, only such a node can simply run again. What
cannot be judged, as a macro that a hook calls, counts as not repeatable.
"""

import re
from collections.abc import Mapping
from typing import Any

# They are made anew each time.
_REBUILT = {None, "ephemeral", "external", "function", "seed", "table", "test", "unit", "view"}
# Of an incremental model with a unique key; without one they append. Of microbatch the key is the time.
_BY_KEY = {None, "delete+insert", "merge"}
# The adapters whose database undoes all that a failed node did. With others each statement commits by itself.
_TRANSACTIONAL = {"duckdb", "postgres", "redshift"}
# Statements of hooks. The first run's are committed, or undone, with the node.
_SAME_TWICE = {
    *("alter", "analyze", "attach", "checkpoint", "comment", "create", "delete", "detach", "drop", "grant", "install"),
    *("load", "pragma", "reset", "revoke", "select", "set", "use", "vacuum", "with"),
}
_OWN_ROWS = re.compile(r"(?:insert\s+into|update)\s+\{\{\s*this\s*\}\}", re.IGNORECASE)
# What a hook may ask for, and still be judged by its text: all else may be a macro that does anything.
_PLAIN = re.compile(
    r"\{\{-?\s*(?:this|target|model|invocation_id|run_started_at|(?:ref|source|var|env_var)\([^(){}]*\))[\w.\[\]'\"]*\s*-?\}\}"
)


def is_repeatable(config: Mapping[str, Any]) -> bool:
    """Return whether a node may run twice, by its config as dbt's manifest has it.

    An incremental model without a unique key appends, so its rows would be there twice:

    >>> is_repeatable({"materialized": "incremental", "unique_key": "id"})
    True
    >>> is_repeatable({"materialized": "incremental"})
    False
    """
    kind, strategy = config.get("materialized"), config.get("incremental_strategy")
    is_rebuilt = kind in _REBUILT
    by_key = bool(config.get("unique_key")) and strategy in _BY_KEY
    hooks = [*(config.get("pre-hook") or ()), *(config.get("post-hook") or ())]
    return (
        is_rebuilt or kind == "snapshot" or (kind == "incremental" and (strategy == "microbatch" or by_key))
    ) and all(_is_repeatable_hook(str(hook.get("sql", "")), is_rebuilt) for hook in hooks)


def is_made_anew(config: Mapping[str, Any]) -> bool:
    """Return whether it leaves the same whatever another version of it left there before.

    >>> is_made_anew({"materialized": "table"}), is_made_anew({"materialized": "incremental", "unique_key": "id"})
    (True, False)
    """
    return config.get("materialized") in _REBUILT and is_repeatable(config)


def is_undone(config: Mapping[str, Any], adapter: str) -> bool:
    """Return whether a failure leaves nothing of it: its batches and hooks are not committed by themselves.

    >>> hooked = {"materialized": "incremental", "post-hook": [{"sql": "select 1", "transaction": True}]}
    >>> is_undone(hooked, "postgres"), is_undone(hooked, "trino")
    (True, False)
    """
    before, after = config.get("pre-hook") or (), config.get("post-hook") or ()
    outside = any(not hook.get("transaction", True) for hook in after)
    is_committed_in_parts = outside if adapter in _TRANSACTIONAL else bool(before or after)
    return is_made_anew(config) or (config.get("incremental_strategy") != "microbatch" and not is_committed_in_parts)


def _is_repeatable_hook(sql: str, is_rebuilt: bool) -> bool:
    if re.search(r"\{[{%]", _PLAIN.sub("", sql)):
        return False
    statements = [statement.strip() for statement in sql.split(";")]
    return all(_is_repeatable_statement(statement, is_rebuilt) for statement in statements if statement)


def _is_repeatable_statement(statement: str, is_rebuilt: bool) -> bool:
    if is_rebuilt and _OWN_ROWS.match(statement):
        return True
    verb = re.match(r"\w*", statement)
    # A query may be the head of a statement that writes.
    writes = re.search(r"\b(?:insert|update|merge)\b", statement, re.IGNORECASE)
    return verb is not None and verb[0].lower() in _SAME_TWICE and not writes
