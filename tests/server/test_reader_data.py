"""The files of generations over HTTP, by a real `dbtpod reader`."""

import json
import os
import random
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import warehouse
from dbtpod.warehouse import housekeeping
from dbtpod.warehouse.warehouse import DuckDBFile
from reading import Reading, build_large, reading, volume
from waiting import until

NAME = "warehouse.duckdb"
HISTORY = "history.duckdb"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> DuckDBFile:
    """Two generations; the second has a history."""
    found = warehouse.new(tmp_path_factory.mktemp("volume"))
    warehouse.build(found, 1000)
    second = warehouse.build(found, 2000)
    shutil.copy(second.database, second.database.with_name("history.duckdb"))
    return found


@pytest.fixture(scope="module")
def reader(kept: DuckDBFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    with reading(kept, tmp_path_factory.mktemp("reader")) as found:
        yield found


def test_a_generation_has_an_address_of_its_own_that_never_changes(reader: Reading, kept: DuckDBFile) -> None:
    answer = reader.get(f"/data/1/{NAME}")

    content = kept.generations.database(1).read_bytes()
    assert answer.content == content
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable, no-transform"
    assert re.fullmatch('"1-[0-9a-f]+-[0-9a-f]+"', answer.headers["etag"])
    assert reader.get(f"/data/2/{NAME}").headers["etag"] != answer.headers["etag"]
    head = reader.head(f"/data/1/{NAME}")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))
    assert {name: head.headers[name] for name in ("etag", "last-modified", "accept-ranges")} == {
        name: answer.headers[name] for name in ("etag", "last-modified", "accept-ranges")
    }


def test_current_leads_to_the_generation_that_readers_see(reader: Reading) -> None:
    answer = reader.get(f"/data/current/{NAME}")

    assert (answer.status_code, answer.headers["location"]) == (307, f"/reader/data/2/{NAME}")
    assert answer.headers["cache-control"] == "no-store"
    assert reader.get("/data/current/history.duckdb").headers["location"] == "/reader/data/2/history.duckdb"
    assert reader.get("/data/2/history.duckdb").status_code == 200


def test_current_is_read_as_a_whole_as_pieces_of_it_would_be_of_several_generations(reader: Reading) -> None:
    head = reader.head(f"/data/current/{NAME}")
    piece = reader.get(f"/data/current/{NAME}", range="bytes=0-9")

    assert (head.status_code, head.headers["content-location"]) == (200, f"/reader/data/2/{NAME}")
    assert "content-length" not in head.headers
    assert piece.status_code == 416
    assert f"Use /reader/data/2/{NAME}" in piece.text


def test_the_history_of_all_runs_is_given_as_a_whole_and_only_where_it_changed(
    kept: DuckDBFile, tmp_path: Path
) -> None:
    with reading(kept, tmp_path) as reader:
        before = reader.get(f"/data/{HISTORY}")
        file = kept.volume.history / HISTORY
        file.parent.mkdir()
        shutil.copy(kept.generations.database(1), file)
        first = reader.get(f"/data/{HISTORY}")
        again = reader.get(f"/data/{HISTORY}", **{"if-none-match": first.headers["etag"]})
        head, piece = reader.head(f"/data/{HISTORY}"), reader.get(f"/data/{HISTORY}", range="bytes=0-9")
        content = file.read_bytes()
        shutil.copy(kept.generations.database(2), file.with_suffix(".new"))
        file.with_suffix(".new").rename(file)
        second = reader.get(f"/data/{HISTORY}", **{"if-none-match": first.headers["etag"]})

    assert (before.status_code, "no history yet" in before.text) == (404, True)
    assert (first.status_code, first.content) == (200, content)
    assert first.headers["cache-control"] == "private, no-cache, no-transform"
    assert (again.status_code, again.content) == (304, b"")
    assert (head.status_code, "content-length" in head.headers) == (200, False)
    assert (piece.status_code, "/reader/data/NUMBER/history.duckdb" in piece.text) == (416, True)
    assert (second.status_code, second.content) == (200, kept.generations.database(2).read_bytes())


def test_a_list_for_programs_names_each_generation_with_its_address(reader: Reading) -> None:
    found = reader.get("/data/generations.json").json()

    assert [(one["number"], one["current"], one["address"]) for one in found] == [
        (1, False, f"/reader/data/1/{NAME}"),
        (2, True, f"/reader/data/2/{NAME}"),
    ]


def test_ranges_give_the_bytes_that_were_asked_for(reader: Reading, kept: DuckDBFile) -> None:
    content, chance = kept.generations.database(2).read_bytes(), random.Random(18)  # noqa: S311
    size = len(content)
    with httpx.Client() as client:
        for _ in range(200):
            parts = [_part(chance, size) for _ in range(chance.choice([1, 1, 1, 2, 5]))]
            header = chance.choice([",", ", "]).join(text for text, _ in parts)
            answer = client.get(f"{reader.url}/data/2/{NAME}", headers={"range": f"bytes={header}"})

            wanted = [content[begin:end] for _, (begin, end) in parts if begin < end]
            if not wanted or sum(map(len, wanted)) > size:
                assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{size}"), header
                continue
            assert answer.status_code == 206, header
            assert len(answer.content) == int(answer.headers["content-length"])
            assert _pieces(answer, size) == wanted, header


def _part(chance: random.Random, size: int) -> tuple[str, tuple[int, int]]:
    """A range as it is written, and what it means: open, a suffix, from here to there, behind the end."""
    begin = chance.choice([0, size - 1, chance.randrange(size), size, size + 7])
    length = chance.choice([1, 2, 4096, chance.randrange(1, size)])
    match chance.randrange(3):
        case 0:
            return f"{max(begin, size - 5000)}-", (max(begin, size - 5000), size)
        case 1:
            return f"-{length}", (size - length, size)
        case _:
            return f"{begin}-{begin + length - 1}", (begin, min(size, begin + length))


def _pieces(answer: httpx.Response, size: int) -> list[bytes]:
    kind = answer.headers["content-type"]
    if not kind.startswith("multipart/byteranges"):
        assert answer.headers["content-range"].endswith(f"/{size}")
        return [answer.content]
    boundary = kind.partition("boundary=")[2].encode()
    start, *parts, end = answer.content.split(b"--" + boundary)
    assert (start, end) == (b"\r\n", b"--\r\n")
    found = []
    for part in parts:
        head, _, body = part.partition(b"\r\n\r\n")
        [(begin, last)] = re.findall(rb"bytes (\d+)-(\d+)/%d" % size, head)
        found.append(body[:-2])
        assert len(found[-1]) == int(last) - int(begin) + 1
    return found


@pytest.mark.parametrize(
    "header",
    [
        *("bytes=", "bytes=5-2", "bytes=-0", "bytes=a-b", "bytes=1", "bytes=--1", "bytes=99999999999-", "bytes=٣-٤"),
        *("bytes=0-,0-,0-", f"bytes={'9' * 500}-", f"bytes={','.join(f'{at}-{at}' for at in range(5000))}"),
    ],
)
def test_what_is_no_range_or_more_than_a_client_needs_is_refused(reader: Reading, header: str) -> None:
    answer = httpx.get(f"{reader.url}/data/2/{NAME}", headers={"range": header.encode()})

    assert answer.status_code == 416
    assert len(answer.text) < 200


def test_a_unit_that_is_unknown_is_as_none(reader: Reading, kept: DuckDBFile) -> None:
    assert reader.get(f"/data/2/{NAME}", range="rows=1-2").content == kept.generations.database(2).read_bytes()


def test_what_a_client_has_is_not_sent_again(reader: Reading) -> None:
    path = f"/data/2/{NAME}"
    head = reader.head(path).headers

    assert reader.get(path, **{"if-none-match": head["etag"]}).status_code == 304
    assert reader.get(path, **{"if-none-match": f'"x", W/{head["etag"]}'}).status_code == 304
    assert reader.get(path, **{"if-none-match": '"x"'}).status_code == 200
    assert reader.get(path, **{"if-match": '"x"'}).status_code == 412
    for same in (head["etag"], head["last-modified"]):
        assert reader.get(path, **{"if-range": same, "range": "bytes=0-9"}).status_code == 206
    for other in ('"x"', f"W/{head['etag']}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        assert reader.get(path, **{"if-range": other, "range": "bytes=0-9"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/data/1/generation.json",
            "/data/1/",
            "/data/1",
            "/data/",
            "/data/../data/3/x",
            "/data/000001/warehouse.duckdb",
        ),
        *("/data/1/../../writer.lock", "/data/1/%2e%2e/%2e%2e/writer.lock", "/data/1/..%2f..%2fwriter.lock"),
        *(
            "/data/%2e%2e/work/warehouse.duckdb",
            "/data/..%2fwork/warehouse.duckdb",
            "/data/current%2f../warehouse.duckdb",
        ),
        *("/data/1/warehouse.duckdb%00", "/data/1%00/warehouse.duckdb", "/data/%00/warehouse.duckdb"),
        *(
            "/data/-1/warehouse.duckdb",
            "/data/0/warehouse.duckdb",
            "/data/+1/warehouse.duckdb",
            "/data/1.0/warehouse.duckdb",
        ),
        *("/data/٣/warehouse.duckdb", "/data/preview-1/warehouse.duckdb", "/data/previews/000001/warehouse.duckdb"),
        *(f"/data/{'9' * 18}/warehouse.duckdb", f"/data/{'9' * 400}/warehouse.duckdb", "/data/1//warehouse.duckdb"),
        *("/data/1/WAREHOUSE.duckdb", "/data/1/./warehouse.duckdb", "/data/1/warehouse.duckdb/", "//etc/passwd"),
        *("/data/1/warehouse.duckdb.wal", "/data/%ff/warehouse.duckdb", "/data/7/warehouse.duckdb", "/data/link/x"),
    ],
)
def test_no_address_leads_to_anything_else(reader: Reading, path: str) -> None:
    # As it is: a client would clean it.
    with socket.create_connection(("127.0.0.1", reader.port), timeout=20) as client:
        client.sendall(f"GET /reader{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        with client.makefile("rb") as file:
            answer = file.read().decode()

    assert re.match("HTTP/1.1 (404|400) ", answer), answer
    assert "Traceback" not in answer


def test_no_link_is_followed_out_of_what_is_published(tmp_path: Path) -> None:
    kept = volume(tmp_path)
    warehouse.build(kept, 1)
    warehouse.keep_aside(kept, 2)
    published, secret = kept.volume.published, tmp_path / "secret"
    secret.mkdir()
    (secret / NAME).write_text("secret")
    (published / "000002").symlink_to(secret)
    (published / "000003").mkdir()
    (published / "000003" / NAME).symlink_to(secret / NAME)
    (published / "000004").mkdir()
    os.mkfifo(published / "000004" / NAME)
    (published / "000005" / NAME).mkdir(parents=True)

    with reading(kept, tmp_path / "reader") as reader:
        answers = [reader.get(f"/data/{number}/{NAME}") for number in range(1, 6)]

    assert [one.status_code for one in answers] == [200, 503, 503, 503, 503]
    assert not any("secret" in one.text for one in answers[1:])


def test_a_file_that_was_cut_is_not_served(tmp_path: Path) -> None:
    kept = volume(tmp_path)
    warehouse.build(kept, 1)
    cut = warehouse.build(kept, 2).database
    cut.chmod(0o644)
    os.truncate(cut, 8192)

    with reading(kept, tmp_path / "reader") as reader:
        answer = reader.get(f"/data/2/{NAME}")

    assert answer.status_code == 503
    assert "Generation 2 is damaged" in answer.text
    assert "dbtpod generations rollback 1" in answer.text


def test_before_the_first_build_the_answer_says_so(tmp_path: Path) -> None:
    with reading(volume(tmp_path), tmp_path / "reader") as reader:
        answer = reader.get(f"/data/current/{NAME}")
        listing = reader.get("/data/generations.json")

    assert (answer.status_code, listing.json()) == (404, [])
    assert "Nothing is published" in answer.text


def test_a_session_goes_on_with_a_generation_that_was_removed_and_a_new_one_is_told(tmp_path: Path) -> None:
    kept = volume(tmp_path, keep=1)
    content = warehouse.build(kept, 5).database.read_bytes()
    with reading(kept, tmp_path / "reader") as reader:
        assert reader.get(f"/data/1/{NAME}", range="bytes=0-4095").content == content[:4096]
        for rows in range(6, 12):
            warehouse.build(kept, rows)
            housekeeping.clean(kept.publisher, "run")
        there = kept.generations.entries()
        assert 1 not in there
        again = reader.get(f"/data/1/{NAME}", range="bytes=4096-")
        other = reader.get(f"/data/2/{NAME}")

    assert again.content == content[4096:]
    assert other.status_code == 410
    assert other.text == f"Generation 2 is not kept any more. There are: {', '.join(map(str, [1, *there]))}.\n"


def test_of_removed_generations_only_the_last_two_that_were_read_stay_open(tmp_path: Path) -> None:
    kept = volume(tmp_path, keep=1)
    warehouse.build(kept, 1)
    with reading(kept, tmp_path / "reader") as reader:
        for number in range(1, 7):
            assert reader.get(f"/data/{number}/{NAME}").status_code == 200
            warehouse.build(kept, number + 1)
            housekeeping.clean(kept.publisher, "run")
        assert reader.get(f"/data/7/{NAME}").status_code == 200
        opened = reader.open_files()

    assert len([one for one in opened if one.endswith(f"{NAME} (deleted)")]) == 2


def test_a_download_goes_on_to_its_end_while_its_generation_is_removed(tmp_path: Path) -> None:
    kept = volume(tmp_path, keep=1)
    content = build_large(kept, 1, 40).database.read_bytes()
    with (
        reading(kept, tmp_path / "reader") as reader,
        httpx.stream("GET", f"{reader.url}/data/1/{NAME}", timeout=60) as answer,
    ):
        parts = answer.iter_bytes(65536)
        got = next(parts)
        for rows in range(1, 6):
            warehouse.build(kept, rows)
            housekeeping.clean(kept.publisher, "run")
        assert not kept.generations.database(1).exists()
        assert len(got) < len(content) // 2
        got += b"".join(parts)

    assert got == content


def test_the_end_of_the_process_waits_for_no_download(tmp_path: Path) -> None:
    kept = volume(tmp_path)
    build_large(kept, 1, 40)
    with reading(kept, tmp_path / "reader") as reader, httpx.stream("GET", f"{reader.url}/data/1/{NAME}") as answer:
        parts = answer.iter_bytes(1000)
        next(parts)
        reader.process.terminate()
        reader.process.wait(60)

    assert "Traceback" not in reader.log.read_text()
    assert list((tmp_path / "reader" / "tmp").iterdir()) == []


def test_downloads_beyond_the_limit_are_told_to_come_again(tmp_path: Path) -> None:
    kept = volume(tmp_path)
    build_large(kept, 1, 40)
    with reading(kept, tmp_path / "reader", DBTPOD_READER_DOWNLOADS="1") as reader:
        with httpx.stream("GET", f"{reader.url}/data/1/{NAME}", timeout=60) as first:
            parts = first.iter_bytes(1000)
            next(parts)
            refused = reader.get(f"/data/1/{NAME}")
            assert reader.head(f"/data/1/{NAME}").status_code == 200
            assert reader.get("/health").status_code == 200
        allowed = until(lambda: (one := reader.get(f"/data/1/{NAME}", range="bytes=0-0")).status_code == 206 and one)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "Try again in 5 seconds" in refused.text
    assert allowed


@pytest.mark.slow
def test_a_thousand_clients_that_do_not_read_neither_stop_it_nor_take_its_memory(tmp_path: Path) -> None:
    kept = volume(tmp_path)
    build_large(kept, 1, 40)
    asked = f"GET /reader/data/1/{NAME} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with reading(kept, tmp_path / "reader") as reader:
        before, clients = reader.memory_mb(), []
        try:
            for number in range(1000):
                client = socket.create_connection(("127.0.0.1", reader.port), timeout=20)
                clients.append(client)
                # Every fifth says nothing at all.
                client.sendall(asked if number % 5 else b"")
            times = []
            for _ in range(20):
                began = time.monotonic()
                assert reader.get("/health").status_code == 200
                assert reader.get("/data/generations.json").status_code == 200
                times.append(time.monotonic() - began)
                time.sleep(0.1)
            after = reader.memory_mb()
            # They lose their places, and their connections.
            until(lambda: reader.get(f"/data/1/{NAME}", range="bytes=0-0").status_code == 206, 90, "a place")
            until(lambda: _connections(reader) < 50, 60, "connections that are closed")
        finally:
            for client in clients:
                client.close()

    assert sorted(times)[10] < 2, times
    assert after - before < 120, (before, after)


def _connections(reader: Reading) -> int:
    return sum(one.startswith("socket:") for one in reader.open_files())


def test_errors_are_text_for_programs_and_a_page_for_browsers(reader: Reading) -> None:
    text = reader.get("/data/9/<b>.duckdb")
    page = reader.get("/data/9/<b>.duckdb", accept="text/html,*/*")

    assert (text.headers["content-type"], page.headers["content-type"]) == (
        "text/plain; charset=utf-8",
        "text/html; charset=utf-8",
    )
    assert "'<b>.duckdb' is no file" in text.text
    assert "<b>" not in page.text
    assert reader.get("/nothing").text == "GET /reader/nothing: Not Found.\n"
    assert httpx.post(f"{reader.url}/data/1/{NAME}").status_code == 405


@pytest.mark.parametrize("path", ["/health", f"/data/1/{NAME}", "/nothing", f"/data/current/{NAME}"])
def test_every_answer_has_the_headers_that_keep_a_browser_safe(reader: Reading, path: str) -> None:
    headers = reader.get(path).headers

    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


def test_the_root_leads_below_the_path_whatever_the_host_is_called(reader: Reading) -> None:
    for path in ("/", "/reader"):
        answer = httpx.get(f"http://127.0.0.1:{reader.port}{path}", headers={"host": "evil.example"})
        assert (answer.status_code, answer.headers["location"]) == (307, "/reader/")


def test_without_a_path_everything_is_at_the_root(kept: DuckDBFile, tmp_path: Path) -> None:
    with reading(kept, tmp_path / "reader", DBTPOD_READER_PATH="/") as found:
        assert json.loads(httpx.get(f"http://127.0.0.1:{found.port}/data/generations.json").text)
