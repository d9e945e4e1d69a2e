"""The connection to the PostgreSQL of a DuckLake's catalog, and the lock of the one writer.

The lock is an advisory one of the connection's session: PostgreSQL frees it when the holder's process dies, by whatever
signal, and after a minute where its machine is lost. Who holds it is the connection's application name.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from dbtpod.dbt import failures, reachable
from dbtpod.dbt.failures import Kind
from dbtpod.dbt.lake import Lake
from dbtpod.errors import ConnectionLost, SettingsError, WarehouseBusy, WarehouseUnusable
from dbtpod.timeout import Timeout

# What DuckLake asks for.
OLDEST = 12
_CONNECT_SECONDS = 10
_PAUSE_SECONDS = 0.5
# PostgreSQL may find out later than we do that the connection of before is gone.
_LOCK_SECONDS = 90.0
# Any number that others are not likely to use for their locks.
_LOCKS = 0x6462
# So long may a machine be gone before PostgreSQL takes its holder for dead: 30 s, then three tries.
_KEEPALIVES = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
# PostgreSQL cuts an application name there.
_LONGEST_NAME = 63
_PACKAGE = "psycopg2-binary"
# The lock with two numbers, as PostgreSQL shows it, and the session that has it.
_LOCKED = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted "
    "AND l.objsubid = 2 AND l.classid = %s::bigint::oid AND l.objid = (%s::bigint & 4294967295)::oid "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Session:
    """One connection to the server; a statement is a transaction of its own, unless `transaction` encloses it."""

    def __init__(self, lake: Lake, name: str, log: Callable[[str], None]) -> None:
        self.lake = lake
        self._name, self._log = name, log
        self._connection = _connect(lake, name, log)
        self._in_transaction = False
        self._has_lock = False

    def close(self) -> None:
        """End it, and free the lock."""
        with suppress(_driver().Error):
            self._connection.close()

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows; ConnectionLost, or WarehouseUnusable with the server's words.

        Where the connection broke, it is made again and the statement run again, unless it is part of a transaction:
        each that is none may run twice.
        """
        try:
            return self._ask(sql, values)
        except ConnectionLost:
            if self._in_transaction or not self._connection.closed:
                raise
        self._connect_again()
        return self._ask(sql, values)

    def _ask(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        with _errors(self.lake), self._connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            found: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
            return found

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Have all statements of the block take place, as of one moment, or none."""
        self.ask("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self._in_transaction = True
        try:
            yield
            self.ask("COMMIT")
        except BaseException:
            with suppress(ConnectionLost, WarehouseUnusable):
                self.ask("ROLLBACK")
            raise
        finally:
            self._in_transaction = False

    def lock(self, timeout: float, log: Callable[[str], None]) -> None:
        """Be the one writer until the session ends; WarehouseBusy names the other one after `timeout` seconds."""
        key = self._key
        waiting, is_logged = Timeout(timeout), False
        while self.ask("SELECT pg_try_advisory_lock(%s, %s)", [_LOCKS, key]) != [(True,)]:
            holder = self._holder(key)
            if waiting.is_over:
                raise WarehouseBusy(
                    f"{holder} writes to the {self.lake}, and {timeout:.0f} s of waiting did not see it end. Let it "
                    "finish or cancel it, then run this again; the lock goes with its holder."
                )
            if not is_logged:
                log(f"Waiting for the warehouse, {timeout:.0f} s at most: {holder} writes to the {self.lake}.")
            is_logged = True
            waiting.pause(_PAUSE_SECONDS)
        self._has_lock = True

    def check_lock(self) -> None:
        """WarehouseUnusable where PostgreSQL does not hold the lock for this very session."""
        [[held]] = self.ask(f"SELECT count(*) {_LOCKED} AND l.pid = pg_backend_pid()", [_LOCKS, self._key])
        if not held:
            raise WarehouseUnusable(
                f"PostgreSQL at {self.lake.host}:{self.lake.port} does not hold this run's lock any more, so another "
                "run may write now: nothing was published. If there is a pooler such as PgBouncer in between, name "
                "PostgreSQL itself, or have it pool by session."
            )

    @property
    def _key(self) -> int:
        return zlib.crc32(self.lake.name.encode()) - 2**31

    def _connect_again(self) -> None:
        """Connect, and take the lock again if it was held; what another run published meanwhile, `catalog` finds."""
        self._log(f"The connection to PostgreSQL at {self.lake.host}:{self.lake.port} broke: connecting again.")
        self._connection = _connect(self.lake, self._name, self._log)
        if self._has_lock:
            self._has_lock = False
            self.lock(_LOCK_SECONDS, self._log)

    def _holder(self, key: int) -> str:
        found = self.ask(
            f"SELECT a.application_name, a.client_addr::text, a.backend_start::timestamptz(0)::text {_LOCKED}",
            [_LOCKS, key],
        )
        # A user without rights on others' sessions sees no address.
        return " ".join(f"{name} ({place or 'local'}, since {since})" for name, place, since in found) or "Another run"


def _connect(lake: Lake, name: str, log: Callable[[str], None]) -> Any:
    """Connect, and wait as long as `reachable` does for a server that is away or not ready."""
    driver = _driver()
    waiting = Timeout(reachable.SECONDS)
    while True:
        reachable.wait(lake.host, lake.port, log)
        try:
            connection = driver.connect(
                lake.address, connect_timeout=_CONNECT_SECONDS, application_name=name[:_LONGEST_NAME]
            )
            break
        except driver.Error as error:
            text = _said(error)
            if failures.kind_of(str(error), "postgres") is Kind.LASTING:
                raise SettingsError(
                    f"PostgreSQL at {lake.host}:{lake.port} does not let this run in: {text}. Check user, password and "
                    "dbname in the profile's `path: ducklake:postgres:…`, and the Secret that the pods get them from "
                    "(jobs.envFrom)."
                ) from error
            if waiting.is_over:
                raise ConnectionLost(
                    f"PostgreSQL at {lake.host}:{lake.port} was not ready within {waiting.seconds:.0f} s: {text}."
                ) from error
        waiting.pause(_PAUSE_SECONDS)
    connection.autocommit = True
    check_version(connection.server_version, lake)
    with _errors(lake), connection.cursor() as cursor:
        for setting, value in _KEEPALIVES.items():
            cursor.execute(f"SET {setting} = {value}")
    return connection


def check_version(number: int, lake: Lake) -> None:
    """SettingsError where PostgreSQL, by its version as a number such as 170002, is older than DuckLake takes."""
    if number < OLDEST * 10000:
        version = f"{number // 10000}.{number % 10000}"
        raise SettingsError(
            f"PostgreSQL at {lake.host}:{lake.port} is version {version}, and a DuckLake needs {OLDEST} at least: "
            "upgrade it, or use another server."
        )


def _driver() -> Any:
    try:
        import psycopg2  # type: ignore[import-untyped]
    except ImportError as error:
        raise SettingsError(
            f"{_PACKAGE} is not installed, which warehouse.kind ducklake needs: use the image that is built with it "
            "(docs/growth.md)."
        ) from error
    return psycopg2


@contextmanager
def _errors(lake: Lake) -> Iterator[None]:
    """Turn what PostgreSQL says into our errors."""
    driver = _driver()
    try:
        yield
    except driver.Error as error:
        where = f"PostgreSQL at {lake.host}:{lake.port}"
        if error.pgcode == "42501":
            raise SettingsError(
                f"{where}: {_said(error)}. Its user makes a schema for each build: GRANT CREATE ON DATABASE … TO …; "
                f"and the schema {lake.name} and those that begin with {lake.name}_ have to be its own."
            ) from error
        if isinstance(error, driver.OperationalError | driver.InterfaceError):
            raise ConnectionLost(f"The connection to {where} broke: {_said(error)}.") from error
        raise WarehouseUnusable(f"{where}: {_said(error)}.") from error


def _said(error: Exception) -> str:
    """Return the server's last line, which is the reason; a first one may say only which address was tried."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = next((line for line in lines if "FATAL:" in line or "ERROR:" in line), lines[0] if lines else "")
    return (first or type(error).__name__).rstrip(".")
