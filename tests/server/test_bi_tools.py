"""BI tools as docs/bi-tools.md has them: a real Superset, from PyPI, and curl."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

import pages
import reader_volume
import warehouse
from dbtpod.warehouse import housekeeping
from dbtpod.warehouse.warehouse import DuckDBFile
from prefect_server import free_port
from reader_volume import Story
from reading import install, reading, volume
from serving import serving
from waiting import end, until

# Superset's packages take a minute to install, and its database another one.
pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

PAGE = "docs/bi-tools.md"
PACKAGES = ("apache-superset==6.1.0", "duckdb-engine==0.17.0", "duckdb==1.5.6", "rich", "cachetools")
PACKAGES += ("flask-caching<2.4", "cachelib<0.14")
USER, PASSWORD = "admin", "admin-4711"
SETTINGS = 'SECRET_KEY = "of-this-test-0123456789-0123456789"\nSQLALCHEMY_DATABASE_URI = "sqlite:///{}"\n'
TABLES = ("customers", "orders", "per_order")
COUNT = "select " + ", ".join(f"(select count(*) from {name}) as {name}" for name in TABLES)
LOGIN = "anna:secret"


def block(language: str) -> str:
    [found] = [one.text for one in pages.blocks() if one.page == PAGE and one.language == language]
    return found


class Superset:
    """One that runs, by its API."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(base_url=address, timeout=60)
        login = {"username": USER, "password": PASSWORD, "provider": "db"}
        token = self._post("security/login", login)["access_token"]
        self._client.headers.update({"Authorization": f"Bearer {token}", "Referer": address})
        self._client.headers["X-CSRFToken"] = self._client.get("/api/v1/security/csrf_token/").json()["result"]

    def add(self, file: Path) -> int:
        """Add the database of that file with the settings of the page; its id."""
        address = block("text").strip().replace("/data/published/current/warehouse.duckdb", str(file))
        extra = {"engine_params": json.loads(block("json"))}
        settings = {"database_name": str(file), "sqlalchemy_uri": address, "extra": json.dumps(extra)}
        return int(self._post("database/", settings)["id"])

    def rows(self, database: int) -> int:
        """Count rows as SQL Lab does; fails where the tables are not of one build."""
        [row] = self._post("sqllab/execute/", {"database_id": database, "sql": COUNT, "schema": "main"})["data"]
        assert row["customers"] == row["orders"] == row["per_order"], row
        return int(row["orders"])

    def _post(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        answer = self._client.post(f"/api/v1/{path}", json=body)
        assert answer.is_success, answer.text
        return dict(answer.json())


@pytest.fixture(scope="module")
def superset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Superset]:
    folder = tmp_path_factory.mktemp("superset")
    command = [install(folder / "venv", *PACKAGES).with_name("superset")]
    (folder / "superset_config.py").write_text(SETTINGS.format(folder / "superset.db"))
    environment = os.environ | {
        "SUPERSET_CONFIG_PATH": str(folder / "superset_config.py"),
        "SUPERSET_HOME": str(folder),
        "FLASK_APP": "superset",
    }
    log, port = folder / "superset.log", free_port()
    address = f"http://127.0.0.1:{port}"
    person = ("--firstname", "A", "--lastname", "B", "--email", "a@example.org")
    with log.open("wb") as output:
        for step in (
            ("db", "upgrade"),
            ("fab", "create-admin", "--username", USER, "--password", PASSWORD, *person),
            ("init",),
        ):
            done = subprocess.run([*command, *step], env=environment, stdout=output, stderr=output, check=False)
            assert done.returncode == 0, log.read_text()[-3000:]
        run = [*command, "run", "--port", str(port), "--with-threads"]
        process = subprocess.Popen(run, env=environment, stdout=output, stderr=output)
    try:
        until(lambda: process.poll() is not None or answers(f"{address}/health"), 120, "Superset")
        yield Superset(address)
    finally:
        end(process, 20)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=10).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def kept(tmp_path: Path) -> DuckDBFile:
    found = volume(tmp_path)
    warehouse.build(found, 1)
    return found


def build(kept: DuckDBFile, rows: int) -> None:
    housekeeping.clean(kept.publisher, "run")
    warehouse.build(kept, rows)


def test_superset_reads_whole_builds_while_thirty_are_published(superset: Superset, kept: DuckDBFile) -> None:
    database = superset.add(kept.readable)
    seen = [superset.rows(database)]
    builds = threading.Thread(target=lambda: [build(kept, rows) for rows in range(2, 32)])
    builds.start()
    while builds.is_alive():
        seen.append(superset.rows(database))
    builds.join()
    seen.append(superset.rows(database))

    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (1, 31)
    assert len(set(seen)) > 3


def test_superset_reads_a_copy_that_curl_keeps_up_to_date(superset: Superset, kept: DuckDBFile, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    with reading(kept, tmp_path / "reader", DBTPOD_READER_AUTH=LOGIN) as reader:

        def bring(login: str = LOGIN) -> int:
            environment = os.environ | {"READER": reader.url, "LOGIN": login}
            return subprocess.run(["sh", "-c", block("sh")], cwd=folder, env=environment, check=False).returncode

        assert bring() == 0
        database = superset.add(folder / "warehouse.duckdb")
        assert superset.rows(database) == 1
        first = (folder / "warehouse.duckdb").stat()
        bring()
        # Not transferred again.
        assert (folder / "warehouse.duckdb").stat() == first
        assert 'GET /reader/data/1/warehouse.duckdb HTTP/1.1" 304' in reader.log.read_text()

        build(kept, 2)
        bring("anna:wrong")
        assert superset.rows(database) == 1
        bring()
        assert superset.rows(database) == 2


def test_a_copy_that_was_cut_on_its_way_is_not_taken(kept: DuckDBFile, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    with reading(kept, tmp_path / "reader") as reader, cutting(reader.url) as address:
        for at in (address, reader.url):
            environment = os.environ | {"READER": at, "LOGIN": LOGIN}
            subprocess.run(["sh", "-c", block("sh")], cwd=folder, env=environment, check=False)
            assert (folder / "warehouse.duckdb").exists() == (at == reader.url)

    assert warehouse.rows(folder / "warehouse.duckdb") == 1


def test_the_query_for_grafana_sees_the_newest_history_also_when_it_was_replaced(tmp_path: Path) -> None:
    story = Story(runs=10, published=1)
    kept = reader_volume.volume(tmp_path, story)
    query = block("sql").replace("/data/history/history.duckdb", str(kept.volume.history / "history.duckdb"))
    query = query.replace("$__timeFilter(started)", "started between '2026-11-01' and '2026-12-31'")
    with duckdb.connect() as connection:
        before = connection.execute(query).fetchall()
        reader_volume.write_history(kept, replace(story, runs=12))
        after = connection.execute(query).fetchall()

    assert (len(before), len(after)) == (10, 12)
    times = [at for at, deployment, pod_seconds in after if deployment and pod_seconds]
    assert times == sorted(times)
    assert len(times) == 12


@contextmanager
def cutting(url: str) -> Iterator[str]:
    """Pass on the reader's answers, and close each connection in the middle of its body."""

    class Half(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = httpx.get(f"{url}{self.path}", follow_redirects=True)
            self.send_response(answer.status_code)
            self.send_header("etag", answer.headers["etag"])
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content[: len(answer.content) // 2])

    with serving(Half) as port:
        yield f"http://127.0.0.1:{port}"
