"""A real DuckDB attaches what the reader serves, by its httpfs."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

import warehouse
from dbtpod.warehouse import housekeeping
from dbtpod.warehouse.warehouse import DuckDBFile
from reading import CONNECT, Reading, build_large, install_httpfs, reading, volume

ROWS = """
def rows(connection):
    counts = [connection.sql(f"select count(*) from warehouse.main.{name}").fetchall()[0][0]
              for name in ("customers", "orders", "per_order")]
    assert len(set(counts)) == 1, counts
    return counts[0]
"""
# Attached again and again, until the last build is seen.
COMES_AGAIN = """
seen = []
while not seen or seen[-1] < int(sys.argv[3]):
    with connect() as connection:
        connection.execute(f"attach '{url}{sys.argv[2]}' as warehouse (read_only)")
        seen.append(rows(connection))
        assert rows(connection) == seen[-1]
    if len(seen) == 1:
        print("reading", flush=True)
assert seen == sorted(seen), seen
print(len(seen))
"""
# Attached once, and read until a line says that it is enough; nothing may be kept of what was read.
STAYS = """
import threading
connection = connect(enable_external_file_cache=False, memory_limit="32MB")
connection.execute(f"attach '{url}{sys.argv[2]}' as warehouse (read_only)")
first = rows(connection)
print("reading", flush=True)
ended = threading.Thread(target=sys.stdin.readline)
ended.start()
times = 0
while ended.is_alive() or times < 30:
    assert rows(connection) == first
    [(total,)] = connection.sql("select sum(value) from warehouse.main.noise").fetchall()
    assert total == int(sys.argv[3]), total
    times += 1
print(times)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_httpfs(tmp_path_factory.mktemp("httpfs") / "venv")


@contextmanager
def client(python: Path, script: str, reader: Reading, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start it, and wait until it has read once."""
    process = subprocess.Popen(
        [str(python), "-c", CONNECT + ROWS + script, reader.url, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        yield process
    finally:
        process.kill()
        process.wait(60)


def build_thirty(kept: DuckDBFile, first: int) -> None:
    for rows in range(first, first + 30):
        housekeeping.clean(kept.publisher, "run")
        warehouse.build(kept, rows)


@pytest.mark.slow
def test_current_can_be_attached_at_any_time_during_thirty_builds(python: Path, tmp_path: Path) -> None:
    kept = volume(tmp_path, keep=1)
    warehouse.build(kept, 1)
    with (
        reading(kept, tmp_path / "reader") as reader,
        client(python, COMES_AGAIN, reader, "/data/current/warehouse.duckdb", "31") as process,
    ):
        build_thirty(kept, 2)
        output, _ = process.communicate(timeout=120)

    assert process.returncode == 0
    assert int(output) > 5


@pytest.mark.slow
@pytest.mark.parametrize("number", ["1", "current"])
def test_a_session_that_has_it_attached_sees_one_generation_during_thirty_builds(
    python: Path, tmp_path: Path, number: str
) -> None:
    kept = volume(tmp_path, keep=1)
    # More than the session may keep in memory.
    build_large(kept, 1000, 60)
    with duckdb.connect(kept.readable, read_only=True) as connection:
        total = str(connection.execute("SELECT sum(value) FROM noise").fetchall()[0][0])
    with (
        reading(kept, tmp_path / "reader") as reader,
        client(python, STAYS, reader, f"/data/{number}/warehouse.duckdb", total) as process,
    ):
        build_thirty(kept, 2)
        assert 1 not in kept.generations.entries()
        output, _ = process.communicate("enough\n", timeout=120)
        asked = reader.log.read_text().count('"GET /reader/data/1/warehouse.duckdb')

    assert process.returncode == 0
    assert int(output) >= 30
    # By its number it is read in pieces, all the time; `current` once to see what it is, and once as a whole.
    assert asked > 30 if number == "1" else asked == 2


def run(python: Path, script: str, reader: Reading, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-c", CONNECT + script, reader.url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_table_is_read_by_its_address_as_any_parquet_or_csv(python: Path, tmp_path: Path) -> None:
    kept = volume(tmp_path)
    warehouse.build(kept, 1000)
    script = (
        "for address in ('1/tables/main.orders.parquet', 'current/tables/main.per_order.parquet'):\n"
        "    print(connect().sql(f\"select count(*), max(id) from '{url}/data/{address}'\").fetchall())\n"
        "print(connect().sql(f\"select count(*) from '{url}/data/current/tables/main.orders.csv'\").fetchall())\n"
        "print(connect().sql(f\"select number, current from read_json('{url}/data/generations.json')\").fetchall())"
    )

    with reading(kept, tmp_path / "reader") as reader:
        ended = run(python, script, reader)

    assert ended.stdout.splitlines() == ["[(1000, 999)]", "[(1000, 999)]", "[(1000,)]", "[(1, True)]"], ended.stderr


LOGIN = """
connection = connect()
connection.execute(f"create secret (type http, scope '{url}', extra_http_headers "
                   "map {'Authorization': 'Basic ' || base64(encode('anna:päss'))})")
for number in ("current", "1"):
    connection.execute(f"attach '{url}/data/{number}/warehouse.duckdb' as warehouse (read_only)")
    print(connection.sql("select count(*) from warehouse.main.per_order").fetchall())
    connection.execute("detach warehouse")
try:
    connect().execute(f"attach '{url}/data/1/warehouse.duckdb' as warehouse (read_only)")
except duckdb.IOException as error:
    print(error)
"""


def test_duckdb_logs_in_by_a_secret(python: Path, tmp_path: Path) -> None:
    kept = volume(tmp_path)
    warehouse.build(kept, 7)

    with reading(kept, tmp_path / "reader", DBTPOD_READER_AUTH="anna:päss") as reader:
        ended = run(python, LOGIN, reader)

    assert ended.stdout.splitlines()[:2] == ["[(7,)]", "[(7,)]"], ended.stderr
    # What DuckDB says of each error of an address that it is to attach.
    assert "database does not exist" in ended.stdout


def test_a_current_that_is_too_large_to_be_read_as_a_whole_says_where_it_is_in_pieces(
    python: Path, tmp_path: Path
) -> None:
    kept = volume(tmp_path)
    warehouse.build(kept, 1)
    large = kept.generations.database(1)
    large.chmod(0o644)
    facts = large.with_name("generation.json")
    with large.open("ab") as file:
        file.truncate(2**29)
    facts.write_text(facts.read_text().replace(f'"size": {kept.generations.find(1).size}', f'"size": {2**29}'))
    script = (
        "try:\n    connect().execute(f\"attach '{url}/data/current/warehouse.duckdb' as warehouse (read_only)\")\n"
        "except duckdb.HTTPException as error:\n    print(error.status_code, error)\n"
        "connection = connect()\n"
        "connection.execute(f\"attach '{url}/data/1/warehouse.duckdb' as warehouse (read_only)\")\n"
        "print(connection.sql('select count(*) from warehouse.main.orders').fetchall())"
    )

    with reading(kept, tmp_path / "reader") as reader:
        answer = reader.get("/data/current/warehouse.duckdb", range="bytes=0-1")
        ended = run(python, script, reader)

    assert "Use /reader/data/1/warehouse.duckdb" in answer.text
    assert "(HTTP 413" in ended.stdout, ended
    assert ended.stdout.splitlines()[-1] == "[(1,)]"
