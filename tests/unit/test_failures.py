"""Which error an exit code and dbt's messages mean."""

import pytest

from dbtpod.dbt.failures import Kind, classify, kind_of
from dbtpod.errors import (
    BuildIncomplete,
    ConnectionLost,
    DbtFailed,
    DbtKilled,
    DbtPodError,
    DbtUnusable,
    VolumeFull,
)

LOCKED = 'IO Error: Could not set lock on file "/data/x.duckdb": Conflicting lock is held in PID 0'
REFUSED = "could not connect to server: Connection refused"
BINDER = 'Binder Error: Referenced column "connection refused" not found'
FULL = "IO Error: Could not write file: No space left on device"


@pytest.mark.parametrize(
    ("code", "failed", "said", "expected"),
    [
        (0, [], [], None),
        (0, [], [LOCKED], None),
        (0, [BINDER], [], BuildIncomplete),
        (-9, [], [], DbtKilled),
        (-9, [BINDER], [REFUSED], DbtKilled),
        (1, [LOCKED], [], ConnectionLost),
        (1, [LOCKED, REFUSED], [], ConnectionLost),
        (1, [LOCKED, BINDER], [], DbtFailed),
        (1, [BINDER], [REFUSED], DbtFailed),
        (1, ["Got 3 results, configured to fail if != 0"], [], DbtFailed),
        (1, [FULL], [], VolumeFull),
        (2, [], [LOCKED], ConnectionLost),
        (2, [], [LOCKED, BINDER], DbtUnusable),
        (2, [], [FULL], VolumeFull),
        (2, [], ["Could not find selector named smok"], DbtUnusable),
        (2, [], [], DbtUnusable),
    ],
)
def test_an_end_of_dbt_has_one_kind(
    code: int, failed: list[str], said: list[str], expected: type[DbtPodError] | None
) -> None:
    assert classify(code, failed, said) is expected


def of_model(text: str) -> str:
    return f"Database Error in model b (models/b.sql)\n  {text}\n  compiled code at target/run/shop/models/b.sql"


def of_dbt(text: str) -> str:
    return f"[ERROR]: Encountered an error:\nDatabase Error\n  {text}\n  "


AT = 'connection to server at "127.0.0.1", port 5432 failed:'
DIED = "This probably means the server terminated abnormally\n  \tbefore or while processing the request."
DEADLOCK = "Process 28 waits for ShareLock on transaction 757; blocked by process 29."


# What dbt-postgres 1.10 printed of PostgreSQL 17, run against one that was stopped, killed, full and misused.
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (of_dbt(f"{AT} Connection refused\n  \tIs the server running on that host and accepting it?"), Kind.UNDONE),
        (of_dbt(f"{AT} FATAL:  the database system is starting up"), Kind.UNDONE),
        (of_dbt(f"{AT} FATAL:  the database system is shutting down"), Kind.UNDONE),
        (of_dbt(f"{AT} FATAL:  sorry, too many clients already"), Kind.UNDONE),
        (of_dbt(f"{AT} FATAL:  remaining connection slots are reserved for roles with SUPERUSER"), Kind.UNDONE),
        (of_dbt(f"{AT} server closed the connection unexpectedly\n  \t{DIED}"), Kind.UNDONE),
        (of_dbt('could not translate host name "db" to address: Temporary failure in name resolution'), Kind.UNDONE),
        (of_model("could not serialize access due to concurrent update\n  CONTEXT:  PL/pgSQL"), Kind.UNDONE),
        (of_model("could not serialize access due to read/write dependencies among transactions"), Kind.UNDONE),
        (of_model(f"deadlock detected\n  DETAIL:  {DEADLOCK}"), Kind.UNDONE),
        (of_model(f"server closed the connection unexpectedly\n  \t{DIED}"), Kind.BROKEN),
        (of_model("terminating connection due to administrator command\n  SSL connection has been"), Kind.BROKEN),
        (of_model("SSL SYSCALL error: EOF detected"), Kind.BROKEN),
        (of_model("could not receive data from server: Connection reset by peer"), Kind.BROKEN),
        (of_model("terminating connection because of crash of another server process"), Kind.BROKEN),
        ("connection already closed", Kind.BROKEN),
        (f"PARTIAL SUCCESS (3/4)\nbatch 2026-01-02: {of_model('deadlock detected')}", Kind.UNDONE),
        (f"PARTIAL SUCCESS (3/4)\nbatch 2026-01-02: {of_model('permission denied for table t')}", Kind.LASTING),
        (of_dbt(f'{AT} FATAL:  password authentication failed for user "postgres"'), Kind.LASTING),
        (of_dbt(f'{AT} FATAL:  database "nope" does not exist'), Kind.LASTING),
        (
            of_model('column "no_such" does not exist\n  LINE 12:     select no_such from "main"."a"'),
            Kind.LASTING,
        ),
        (of_model("relation \"t\" does not exist\n  LINE 12: select 'connection refused' from t"), Kind.LASTING),
        (of_model('syntax error at or near "selct"\n  LINE 12:     selct 1'), Kind.LASTING),
        (of_model("permission denied for table orders"), Kind.LASTING),
        (of_model("canceling statement due to statement timeout"), Kind.LASTING),
        (of_model("could not extend file: No space left on device"), Kind.LASTING),
        ("Got 3 results, configured to fail if != 0", Kind.LASTING),
        ("", Kind.LASTING),
    ],
)
def test_what_postgresql_says_is_tried_again_where_that_can_help(message: str, kind: Kind) -> None:
    assert kind_of(message, "postgres") is kind


def of_trino(name: str, kind: str = "INTERNAL_ERROR") -> str:
    """As str() of trino.exceptions.TrinoQueryError, which dbt-trino makes its message."""
    return of_model(
        f'Trino{"User" if kind == "USER_ERROR" else "Internal"}Error(type={kind}, name={name}, message="m")'
    )


# The names are those of io.trino.spi.StandardErrorCode.
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (of_trino("TRANSACTION_CONFLICT", "USER_ERROR"), Kind.UNDONE),
        (of_trino("NO_NODES_AVAILABLE"), Kind.UNDONE),
        (of_trino("REMOTE_TASK_ERROR"), Kind.UNDONE),
        (of_trino("REMOTE_HOST_GONE"), Kind.UNDONE),
        (of_trino("SERVER_STARTING_UP"), Kind.UNDONE),
        (of_trino("SERVER_SHUTTING_DOWN"), Kind.UNDONE),
        (of_trino("SYNTAX_ERROR", "USER_ERROR"), Kind.LASTING),
        (of_trino("PERMISSION_DENIED", "USER_ERROR"), Kind.LASTING),
        (of_trino("TABLE_NOT_FOUND", "USER_ERROR"), Kind.LASTING),
        (of_trino("GENERIC_INTERNAL_ERROR"), Kind.LASTING),
        (
            "NewConnectionError: Failed to establish a new connection: [Errno 111] Connection refused",
            Kind.UNDONE,
        ),
        ("('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))", Kind.BROKEN),
    ],
)
def test_what_trino_says_is_tried_again_where_that_can_help(message: str, kind: Kind) -> None:
    assert kind_of(message, "trino") is kind


def test_a_node_that_a_server_lost_is_a_lost_connection_of_the_command() -> None:
    lost = of_model(f"server closed the connection unexpectedly\n  \t{DIED}")

    assert classify(1, [lost], [], "postgres") is ConnectionLost
    assert classify(2, [], [of_dbt(f"{AT} Connection refused")], "postgres") is ConnectionLost
    assert classify(1, [lost, of_model("permission denied for table orders")], [], "postgres") is DbtFailed
    assert classify(2, [], [of_dbt(f'{AT} FATAL:  role "x" does not exist')], "postgres") is DbtUnusable
