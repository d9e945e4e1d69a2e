"""One table or view as Parquet or CSV, by a real `dbtpod reader`."""

import csv
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import duckdb
import pytest

import warehouse
from reading import Reading, build_large, reading, volume
from waiting import until

ODD = [
    'a.b"c',
    "größe",
    "with space",
    "semi;colon",
    "a/b",
    "..",
    "per%cent",
    "'quoted'",
    "x.parquet",
    "plus+",
    "drop table t",
]
SQL = [
    'CREATE SCHEMA "dot.ted"; CREATE TABLE "dot.ted".t AS SELECT \'schema\' AS name',
    "CREATE SCHEMA dot; CREATE TABLE dot.\"ted.t\" AS SELECT 'table' AS name",
    "CREATE VIEW outside AS SELECT content FROM read_text('/etc/hostname')",
    "CREATE VIEW long AS SELECT max(hash(range)) AS value FROM range(100000000000)",
    "CREATE VIEW wide AS SELECT repeat(hash(range)::VARCHAR, 50) AS value FROM range(10000000)",
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    folder = tmp_path_factory.mktemp("tables")
    kept = volume(folder)
    warehouse.check_out(kept)
    warehouse.write(kept, 1000)
    with duckdb.connect(kept.volume.database) as connection:
        for name in ODD:
            quoted = name.replace('"', '""')
            connection.execute(f'CREATE TABLE "{quoted}" AS SELECT $1 AS name', [name])
        for sql in SQL:
            connection.execute(sql)
    warehouse.publish_as(kept)
    with reading(kept, folder / "reader", DBTPOD_READER_TABLE_MB="20") as found:
        yield found


def left(reader: Reading) -> list[Path]:
    [cache] = (reader.log.parent / "tmp").iterdir()
    return list(cache.iterdir())


def children(reader: Reading) -> list[str]:
    return Path(f"/proc/{reader.process.pid}/task/{reader.process.pid}/children").read_text().split()


def test_a_table_or_a_view_is_given_as_parquet_and_as_csv(reader: Reading, tmp_path: Path) -> None:
    for name in ("orders", "per_order"):
        answer = reader.get(f"/data/1/tables/main.{name}.parquet")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.apache.parquet")
        assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''main.{name}.parquet"
        (tmp_path / "table.parquet").write_bytes(answer.content)
        found = duckdb.sql(f"SELECT count(*), max(id) FROM '{tmp_path}/table.parquet'").fetchall()
        assert found == [(1000, 999)]
        text = reader.get(f"/data/1/tables/main.{name}.csv")
        assert text.headers["content-type"] == "text/csv; charset=utf-8"
        assert list(csv.reader(io.StringIO(text.text)))[:3] == [["id"], ["0"], ["1"]]
    assert left(reader) == []


def test_current_leads_to_the_table_of_a_generation(reader: Reading) -> None:
    answer = reader.get("/data/current/tables/main.größe.csv")
    head = reader.head("/data/current/tables/main.orders.parquet")

    assert (answer.status_code, answer.headers["location"]) == (307, "/reader/data/1/tables/main.gr%C3%B6%C3%9Fe.csv")
    assert (head.status_code, "content-length" in head.headers) == (200, False)


def test_the_list_has_an_address_for_every_name_and_each_leads_to_its_table(reader: Reading) -> None:
    listed = {(one["schema"], one["name"]): one["csv"] for one in reader.get("/data/current/tables.json").json()}

    assert {name for _, name in listed} >= {*ODD, "orders", "per_order", "t", "ted.t"}
    assert len(set(listed.values())) == len(listed)
    wanted = {("main", name): name for name in ODD} | {("dot.ted", "t"): "schema", ("dot", "ted.t"): "table"}
    for place, content in wanted.items():
        answer = reader.get(listed[place].removeprefix("/reader"))
        assert (answer.status_code, list(csv.reader(io.StringIO(answer.text)))) == (200, [["name"], [content]]), place


def test_upper_and_lower_case_are_the_same_as_in_sql(reader: Reading) -> None:
    assert reader.get("/data/1/tables/MAIN.Orders.csv").status_code == 200


def test_an_unknown_table_is_answered_with_the_nearest_names(reader: Reading) -> None:
    for answer in (reader.get("/data/1/tables/main.oders.csv"), reader.get("/data/current/tables/main.oders.parquet")):
        assert answer.status_code == 404
        assert answer.text.startswith("Generation 1 has no table or view main.oders. Similar: main.orders,")
        assert answer.text.endswith("All: /reader/data/1/tables.json\n")
    assert reader.head("/data/1/tables/main.oders.csv").status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        *(
            "orders.csv",
            "main.orders",
            "main.orders.json",
            "main..csv",
            "a.b.c.csv",
            '"main.orders.csv',
            "main.orders.CSV",
        ),
        *("main.orders.csv/", "../1/main.orders.csv", "", 'main."a"b".csv', 'ma"in.orders.csv'),
    ],
)
def test_what_is_no_address_of_a_table_is_refused(reader: Reading, address: str) -> None:
    assert reader.get(f"/data/1/tables/{quote(address)}").status_code == 404


def test_a_table_of_no_generation_is_refused(reader: Reading) -> None:
    answers = [reader.get(f"/data/{number}/tables/main.orders.csv") for number in ("7", "0", "x", "preview-1")]

    assert [one.status_code for one in answers] == [404] * 4


def test_a_view_reads_no_file_of_the_readers_machine(reader: Reading) -> None:
    answer = reader.get("/data/1/tables/main.outside.csv")

    assert answer.status_code == 422
    assert "main.outside could not be written: Permission Error: Cannot access file" in answer.text
    assert left(reader) == []


def test_a_table_that_has_no_room_is_refused_and_leaves_nothing(reader: Reading) -> None:
    answer = reader.get("/data/1/tables/main.wide.csv")

    assert answer.status_code == 503
    assert "main.wide needs more than the 20 MB" in answer.text
    assert left(reader) == []


def test_who_goes_away_ends_the_making(reader: Reading) -> None:
    with socket.create_connection(("127.0.0.1", reader.port), timeout=20) as client:
        client.sendall(b"GET /reader/data/1/tables/main.long.csv HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: left(reader) and children(reader), 30, "a table that is made")

    until(lambda: not left(reader) and not children(reader), 60, "an empty cache, and no process")


def test_beyond_four_at_a_time_nothing_else_stops(tmp_path: Path) -> None:
    kept = volume(tmp_path)
    build_large(kept, 1, 40)
    asked = b"GET /reader/data/1/tables/main.noise.csv HTTP/1.1\r\nHost: x\r\n\r\n"
    with reading(kept, tmp_path / "reader") as reader:
        clients = [socket.create_connection(("127.0.0.1", reader.port), timeout=20) for _ in range(8)]
        try:
            for client in clients:
                client.sendall(asked)
            until(lambda: len(children(reader)) == 4, 60, "four that are made")
            assert reader.get("/health").status_code == 200
            assert reader.get("/data/1/warehouse.duckdb", range="bytes=0-9").status_code == 206
            assert len(children(reader)) <= 4
        finally:
            for client in clients:
                client.close()
        until(lambda: not left(reader), 60, "an empty cache")

    assert os.listdir(tmp_path / "reader" / "tmp") == []  # noqa: PTH208
