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


def of_trino(name: str, kind: str = "INTERNAL_ERROR", says: str = "m") -> str:
    """As str() of trino.exceptions.TrinoQueryError, which dbt-trino makes its message."""
    error = {"USER_ERROR": "User", "EXTERNAL": "External"}.get(kind, "Query")
    return of_model(f'Trino{error}Error(type={kind}, name={name}, message="{says}", query_id=20261127_200000_00042_ab)')


POOL = "HTTPConnectionPool(host='trino', port=8080)"
NO_S3 = "Unable to execute HTTP request: Connect to s3:7070 [s3/10.96.0.9] failed: Connection refused"


# What dbt-trino 1.11 printed of Trino 476 has a text here; the other names are those of StandardErrorCode.
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (of_trino("TRANSACTION_CONFLICT", "EXTERNAL"), Kind.UNDONE),
        (of_trino("NO_NODES_AVAILABLE"), Kind.UNDONE),
        (of_trino("REMOTE_TASK_ERROR"), Kind.UNDONE),
        (of_trino("REMOTE_HOST_GONE"), Kind.UNDONE),
        # A minute after a worker was killed in a query.
        (
            of_trino(
                "TOO_MANY_REQUESTS_FAILED",
                says="Encountered too many errors talking to a worker node. The node may have crashed or be under too "
                "much load. This is probably a transient issue, so please retry your query in a few minutes. (getting "
                "info for task http://172.19.0.5:8080/v1/task/20261127_205801_00226_tupht.3.0.0 - 16 failures, failure "
                "duration 62.89s, total failed request time 17.34s)",
            ),
            Kind.UNDONE,
        ),
        (of_trino("PAGE_TRANSPORT_ERROR"), Kind.UNDONE),
        # They may be of a statement after the one that wrote: each commits by itself.
        (of_trino("SERVER_STARTING_UP", says="Trino server is still initializing"), Kind.BROKEN),
        (of_trino("SERVER_SHUTTING_DOWN"), Kind.BROKEN),
        (of_trino("ICEBERG_COMMIT_ERROR", "EXTERNAL"), Kind.BROKEN),
        (of_trino("ICEBERG_FILESYSTEM_ERROR", "EXTERNAL", NO_S3), Kind.BROKEN),
        (
            of_trino("ICEBERG_FILESYSTEM_ERROR", "EXTERNAL", "Access Denied (Service: S3, Status Code: 403)"),
            Kind.LASTING,
        ),
        (of_trino("SYNTAX_ERROR", "USER_ERROR", "line 1:8: mismatched input 'selct'"), Kind.LASTING),
        (of_trino("COLUMN_NOT_FOUND", "USER_ERROR", "Column 'connection refused' cannot be resolved"), Kind.LASTING),
        (of_trino("PERMISSION_DENIED", "USER_ERROR", "Access Denied: Cannot create schema analytics"), Kind.LASTING),
        (of_trino("TABLE_NOT_FOUND", "USER_ERROR"), Kind.LASTING),
        (of_trino("GENERIC_INTERNAL_ERROR"), Kind.LASTING),
        # PostgreSQL, which has the catalog, could not be reached.
        (
            of_dbt(
                'TrinoQueryError(type=INTERNAL_ERROR, name=GENERIC_INTERNAL_ERROR, message="Error listing materialized '
                'views for catalog lake: Failed to connect: jdbc:postgresql://postgres:5432/postgres", query_id=2026)'
            ),
            Kind.BROKEN,
        ),
        # The coordinator was killed in a query, and asked while it started.
        (
            of_model(
                "failed to fetch: ('Connection aborted.', RemoteDisconnected('Remote end closed connection without "
                "response'))"
            ),
            Kind.BROKEN,
        ),
        (
            of_dbt("failed to execute: ('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))"),
            Kind.BROKEN,
        ),
        (
            of_model(
                f"failed to fetch: {POOL}: Max retries exceeded with url: /v1/statement/executing/2026/y/1 (Caused by "
                "NewConnectionError('Failed to establish a new connection: [Errno 111] Connection refused'))"
            ),
            Kind.BROKEN,
        ),
        ("Runtime Error in model b (models/b.sql)\n  error 404: b'Query not found'", Kind.BROKEN),
        ("Runtime Error in model b (models/b.sql)\n  error 503: service unavailable", Kind.BROKEN),
        ("Runtime Error in model b (models/b.sql)\n  error 401: b'Unauthorized'", Kind.LASTING),
        (
            of_dbt(
                f"failed to execute: {POOL}: Max retries exceeded (Caused by SSLError('certificate verify failed'))"
            ),
            Kind.LASTING,
        ),
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


# Of DuckDB 1.5.5 and PostgreSQL 17, killed and ended in the middle.
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('TransactionContext Error: Failed to commit: Failed to execute query "ROLLBACK": ', Kind.BROKEN),
        (
            "IO Error: Failed to query most recent snapshot for DuckLake: Unable to connect to Postgres at "
            f'"dbname=postgres": {AT} Connection refused\n\tIs the server running on that host?',
            Kind.UNDONE,
        ),
        (f'IO Error: Unable to connect to Postgres at "": {AT} FATAL:  password authentication failed', Kind.LASTING),
        (
            f'IO Error: Unable to connect to Postgres at "": {AT} FATAL:  the database system is starting up',
            Kind.UNDONE,
        ),
        ("IO Error: Could not establish connection error for HTTP PUT to 'http://127.0.0.1:7070/b/f'", Kind.UNDONE),
        ("HTTP Error: Unable to connect to URL s3://b/f: 503 (Service Unavailable)", Kind.UNDONE),
        ("HTTP Error: Unable to connect to URL s3://b/f: 404 (Not Found)", Kind.LASTING),
        ('Binder Error: Referenced column "timeout was reached" not found', Kind.LASTING),
        ('Constraint Error: Failed to commit: duplicate key "ducklake_snapshot_pkey"', Kind.LASTING),
    ],
)
def test_what_duckdb_says_of_a_ducklake_shows_whether_another_try_helps(said: str, kind: Kind) -> None:
    assert kind_of(f"Runtime Error in model a (models/a.sql)\n  {said}", "ducklake") is kind
