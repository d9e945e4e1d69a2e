"""Which nodes may run twice."""

import pytest

from dbtpod.dbt.repeatable import is_repeatable, is_undone


@pytest.mark.parametrize(
    "config",
    [
        {"materialized": "table"},
        {"materialized": "view"},
        {"materialized": "seed"},
        {"materialized": "snapshot"},
        {"materialized": "test"},
        {},
        {"materialized": "incremental", "unique_key": "id"},
        {"materialized": "incremental", "unique_key": ["a", "b"], "incremental_strategy": "merge"},
        {"materialized": "incremental", "incremental_strategy": "microbatch"},
    ],
)
def test_what_is_rebuilt_or_has_a_key_may_run_twice(config: dict[str, object]) -> None:
    assert is_repeatable(config)


@pytest.mark.parametrize(
    "config",
    [
        {"materialized": "incremental"},
        {"materialized": "incremental", "incremental_strategy": "delete+insert"},
        {"materialized": "incremental", "incremental_strategy": "append", "unique_key": "id"},
        {"materialized": "incremental", "incremental_strategy": "our_own", "unique_key": "id"},
        {"materialized": "our_own_materialization"},
    ],
)
def test_what_appends_or_is_unknown_may_not(config: dict[str, object]) -> None:
    assert not is_repeatable(config)


@pytest.mark.parametrize(
    ("sql", "kind", "may_run_twice"),
    [
        ("update {{ this }} set loaded_at = now()", "seed", True),
        ("update {{ this }} set n = n + 1", "snapshot", False),
        ("insert into {{this}} values (0)", "table", True),
        ("insert into audit values ('{{ this }}')", "table", False),
        ("delete from {{ this }} where id not in (select id from {{ ref('orders') }})", "snapshot", True),
        ("create index if not exists i on {{ this }} (id)", "table", True),
        ("grant select on {{ this }} to {{ target.user }}", "view", True),
        ("create table if not exists audit (n int); insert into audit values (1)", "table", False),
        ("with x as (select 1) insert into audit select * from x", "table", False),
        ("{{ write_audit() }}", "table", False),
        ("{% if target.name == 'prod' %} select 1 {% endif %}", "table", False),
        ("call something()", "table", False),
        ("  ; ", "table", True),
    ],
)
@pytest.mark.parametrize("when", ["pre-hook", "post-hook"])
def test_a_hook_is_judged_by_its_statement(sql: str, kind: str, may_run_twice: bool, when: str) -> None:
    assert is_repeatable({"materialized": kind, when: [{"sql": sql, "transaction": True}]}) is may_run_twice


HOOK = {"sql": "insert into audit values (1)", "transaction": True}
APPENDS = {"materialized": "incremental"}


@pytest.mark.parametrize(
    ("config", "adapter", "nothing_is_left"),
    [
        (APPENDS, "duckdb", True),
        (APPENDS, "trino", True),
        ({**APPENDS, "post-hook": [HOOK]}, "postgres", True),
        ({**APPENDS, "post-hook": [HOOK | {"transaction": False}]}, "postgres", False),
        ({**APPENDS, "post-hook": [HOOK]}, "trino", False),
        ({**APPENDS, "pre-hook": [HOOK]}, "trino", False),
        ({"materialized": "table"}, "trino", True),
        ({"materialized": "table", "post-hook": [HOOK]}, "trino", False),
    ],
)
def test_of_a_node_that_failed_what_committed_before_is_left(
    config: dict[str, object], adapter: str, nothing_is_left: bool
) -> None:
    assert is_undone(config, adapter) is nothing_is_left
