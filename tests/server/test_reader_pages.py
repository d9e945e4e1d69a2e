"""The pages of the reader, with real volumes, a recorded history, and a real Prefect server."""

import json
import re
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import duckdb
import pytest
from prefect.client.orchestration import SyncPrefectClient
from starlette.testclient import TestClient

import reader_volume
import warehouse
from dbtpod.history.schema import FILE
from dbtpod.reader import app
from dbtpod.reader.settings import Reader
from dbtpod.warehouse.warehouse import DuckDBFile
from prefect_server import Server
from reader_volume import NASTY, NASTY_ID, Step, Story, run_id

STORY = Story(fails={0: "rpt_cohorts", 1: "rpt_cohorts", 9: "fct_orders"}, slow={0: "int_order_payments"})
# The run that failed at a model in the middle, and the newest that completed.
FAILED, COMPLETED = run_id(9), run_id(2)


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._hidden = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._hidden = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._hidden = ""

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def links(self, url: str) -> set[str]:
        found = [attrs.get("href") or attrs.get("src") for _, attrs in self.elements]
        return {urljoin(url, each).partition("#")[0] for each in found if each}


def serving(kept: DuckDBFile, folder: Path, **settings: object) -> TestClient:
    """Serve that volume in this process."""
    values: dict[str, object] = {"path": "/reader", "login": None, "api": None, "api_login": None, "ui_url": None}
    reader = Reader(kept=kept, cache=folder / "cache", **values | settings)  # type: ignore[arg-type]
    return TestClient(app.create(reader), headers={"Accept": "text/html"}, follow_redirects=True)


def text(client: TestClient, path: str) -> str:
    answer = client.get(f"/reader{path}")
    assert answer.status_code == 200, (path, answer.text)
    return Page(answer.text).text


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> DuckDBFile:
    return reader_volume.volume(tmp_path_factory.mktemp("shop"), STORY)


@pytest.fixture(scope="module")
def client(shop: DuckDBFile, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(shop, tmp_path_factory.mktemp("reader"), ui_url="https://prefect.example/") as found:
        yield found


@pytest.fixture(scope="module")
def number(shop: DuckDBFile) -> int:
    found = shop.generations.current()
    assert found
    return found


@pytest.fixture
def copy(shop: DuckDBFile, tmp_path: Path) -> DuckDBFile:
    """A volume that a test may damage."""
    return warehouse.twin(shop, tmp_path / "volume")


def test_the_overview_says_what_readers_see_what_failed_and_how_to_attach(client: TestClient, number: int) -> None:
    page = client.get("/reader/")

    shown = Page(page.text).text
    assert f"Readers see Generation {number} Published 2026-11-27 00:" in shown
    assert f'href="https://prefect.example/runs/flow-run/{COMPLETED}"' in page.text
    assert "The last run failed:" in shown
    assert "rpt_cohorts: Binder Error: Referenced column" in shown
    assert re.search(r"Failing now .* rpt_cohorts model .* ago , \w{8} 2 Binder Error", shown)
    assert re.search(r"Slower than usual .* int_order_payments model \d", shown)
    assert "ATTACH 'http://testserver/reader/data/current/warehouse.duckdb' AS warehouse (READ_ONLY);" in shown


def test_a_large_file_is_attached_by_its_number_as_duckdb_reads_current_as_a_whole(
    copy: DuckDBFile, tmp_path: Path, number: int
) -> None:
    facts = copy.generations.find(number).database.with_name("generation.json")
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"size": 2**30}))

    with serving(copy, tmp_path) as client:
        assert f"/data/{number}/warehouse.duckdb' AS" in text(client, "/")


def test_the_generations_are_listed_with_the_previews(copy: DuckDBFile, tmp_path: Path, number: int) -> None:
    warehouse.keep_aside(copy, 7, run_id(0))

    with serving(copy, tmp_path) as client:
        shown = text(client, "/generations")
    assert re.search(rf"{number} current 2026-11-27 00:.* {number - 1} 2026-11-26 .*{number - 2} ", shown)
    assert "preview-1" in shown
    assert "dbtpod generations publish preview-1" in shown


def test_a_generation_shows_what_changed_and_the_way_back_to_it(client: TestClient, number: int) -> None:
    shown = text(client, f"/generations/{number - 1}")

    assert f"What changed since generation {number - 2}" in shown
    rows = re.search(r"changed main\.fct_orders ([\d,]+) ([\d,]+) (\d+) 0 - ", shown)
    assert rows
    before, after, added = (int(each.replace(",", "")) for each in rows.groups())
    assert added == after - before > 0
    assert f"kubectl -n dbtpod exec job/warehouse -- dbtpod generations rollback {number - 1}" in shown
    assert "main.fct_orders table 61,9" in shown


def test_the_current_generation_needs_no_way_back_to_it(client: TestClient, number: int) -> None:
    assert "rollback" not in text(client, "/generations/current")
    assert client.get("/reader/generations/current", follow_redirects=False).headers["location"] == (
        f"/reader/generations/{number}"
    )


def test_a_failed_run_shows_its_timing_by_thread_and_its_failure(client: TestClient, number: int) -> None:
    answer = client.get(f"/reader/runs/{FAILED}")

    page = Page(answer.text)
    bars = [attrs["class"] for tag, attrs in page.elements if tag == "rect" and "bar" in (attrs.get("class") or "")]
    assert len(bars) > 15
    assert bars.count("bar bad") == 1
    assert "Thread-1 Thread-2 Thread-3 Thread-4" in page.text
    assert re.search(r"Failures error fct_orders model Binder Error: Referenced column", page.text)
    assert "2 skipped" in page.text
    assert f"https://prefect.example/runs/flow-run/{FAILED}" in page.links("http://x/")
    # Of a run that published nothing, the nodes are those of what readers see.
    assert f"/reader/generations/{number}/nodes/model.shop.fct_orders" in answer.text
    assert re.search(r"dbt build 1 [\d.]+ s 1 ", page.text)


def test_a_node_shows_its_history_tests_columns_and_sql(client: TestClient, number: int) -> None:
    answer = client.get(f"/reader/generations/{number}/nodes/model.shop.fct_orders")

    page = Page(answer.text)
    assert "id BIGINT The key." in page.text
    assert "amount BIGINT" in page.text
    assert re.search(r"not_null_fct_orders_id pass .* ago 0 of 1", page.text)
    assert 'from "warehouse"."main"."int_order_payments"' in page.text
    assert "int_order_payments model dim_customers model fct_orders fct_daily_revenue model" in page.text
    seconds, rows = (json.loads(each) for each in re.findall(r'application/json">(.*?)</script>', answer.text))
    assert len(seconds["times"]) == STORY.runs
    assert seconds["times"] == sorted(seconds["times"])
    assert sum(value is not None for value in seconds["lines"][1]["values"]) == 1
    assert rows["lines"][0]["values"][-1] == 61_948 - 14


def test_the_lineage_of_columns_comes_to_the_page_once_it_is_made(client: TestClient, number: int) -> None:
    path = f"/generations/{number}/nodes/model.shop.stg_orders"
    deadline = time.monotonic() + 60
    while "being made" in (shown := text(client, path)):
        assert time.monotonic() < deadline
        time.sleep(0.3)

    assert "Column Type Made from Used by Description id BIGINT raw_orders .id" in shown


def test_nodes_are_found_by_name_and_by_description(client: TestClient) -> None:
    assert "crm.customers" in text(client, "/nodes?q=EXPORTS+hour")
    found = text(client, "/nodes?q=stg_payments&kind=test")
    assert "not_null_stg_payments_id test" in found
    assert "flaky: 3 of 20 failed" in found
    assert "Nothing is called, or described, like that." in text(client, "/nodes?q=%22%3E%3Cb%3E")
    assert re.search(r"Notes rpt_cohorts .* failing since", text(client, "/nodes?order=failing"))
    assert re.search(r"Notes fct_orders", text(client, "/nodes?order=slow"))


def test_runs_come_in_parts(client: TestClient) -> None:
    seen: list[str] = []
    for part in (1, 2, 3):
        page = client.get(f"/reader/runs?page={part}").text
        body = page[page.index("<tbody>") : page.index("</tbody>")]
        seen += re.findall(r'<td><a href="/reader/runs/([0-9a-f-]{36})"', body)
    assert len(seen) == len(set(seen)) == STORY.runs
    assert "101-120 of 120" in text(client, "/runs?page=3")
    assert "101-120 of 120" in text(client, "/runs?page=99999999")
    assert "1-50 of 120" in text(client, "/runs?page=-1&state=nonsense")
    shown = text(client, "/runs?state=failed")
    assert "failed 2026" in shown
    assert "completed 2026" not in shown


def test_a_thousand_nodes_come_in_parts(tmp_path: Path) -> None:
    steps = [Step(f"model.shop.m{number:04d}", 0.1, (), 10) for number in range(1000)]
    kept = reader_volume.volume(tmp_path, Story(runs=3, steps=steps, published=1), history=False)
    reader_volume.write_history(kept, Story(runs=3, steps=steps, published=1))

    with serving(kept, tmp_path) as client:
        first, last = text(client, "/nodes"), text(client, "/nodes?page=10")
        run = client.get(f"/reader/runs/{run_id(0)}").text
    assert "1-100 of 1,001" in first
    assert "901-1,000 of 1,001" in last
    assert "m0999" in last
    assert len(run) < 3_000_000


def test_every_link_that_begins_at_the_overview_leads_somewhere(client: TestClient) -> None:
    todo, seen, bad = ["http://testserver/reader/"], {"http://testserver/reader/"}, []
    kinds: Counter[str] = Counter()
    while todo:
        url = todo.pop()
        answer = client.get(url)
        if answer.status_code != 200:
            bad.append((answer.status_code, url))
        if "text/html" not in answer.headers.get("content-type", "") or url.endswith("/docs"):
            continue
        found = Page(answer.text).links(str(answer.url)) - seen
        for each in found:
            # A few of each kind: every page of a kind is made by the same code.
            kind = re.sub(r"/nodes/.*|[0-9a-f-]{36}|[0-9]+|main\.\w+", "", each)
            kinds[kind] += 1
            if urlsplit(each).netloc == "testserver" and kinds[kind] <= 4:
                todo.append(each)
        seen |= found

    assert bad == []
    assert len(kinds) > 12


def test_nothing_on_a_page_is_of_another_host_or_inline(client: TestClient, number: int) -> None:
    paths = ["/", "/generations", f"/generations/{number}", "/runs", f"/runs/{FAILED}", "/nodes"]
    for path in [*paths, f"/generations/{number}/nodes/model.shop.fct_orders"]:
        answer = client.get(f"/reader{path}")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        for tag, attrs in Page(answer.text).elements:
            assert not [name for name in attrs if name == "style" or name.startswith("on")], (path, tag, attrs)
            loaded = attrs.get("src") or (attrs.get("href") if tag == "link" else None)
            assert loaded is None or loaded.startswith("/reader/static/")
            assert tag != "script" or "src" in attrs or attrs.get("type") == "application/json"
            assert tag != "style"


def test_names_and_messages_that_are_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    nasty = Step(NASTY_ID, 1.0, (), 5, ("id", NASTY))
    story = Story(runs=4, steps=(nasty, Step("model.shop.plain", 1.0, (NASTY_ID,), 5)), published=1)
    story = Story(runs=4, steps=story.steps, published=1, fails={0: "plain"})
    kept = reader_volume.volume(tmp_path, story)
    [generation] = kept.builds()
    with duckdb.connect(kept.volume.root / "history" / FILE) as connection:
        connection.execute("UPDATE runs SET name = $1, deployment = $1, message = $1, dbt = $1", [NASTY])
        connection.execute("UPDATE commands SET args = $1", [NASTY])
        connection.execute("UPDATE nodes SET name = $1, message = $1, thread = $1", [NASTY])
        connection.execute("UPDATE tests SET name = $1, message = $1", [NASTY])
    manifest = generation.database.with_name("manifest.json")
    text_of_all = json.loads(manifest.read_text())
    for node in text_of_all["nodes"].values():
        node |= {"description": NASTY, "raw_code": NASTY, "compiled_code": NASTY, "tags": [NASTY]}
    manifest.write_text(json.dumps(text_of_all))

    paths = ["/", "/runs", f"/runs/{run_id(0)}", "/nodes", "/nodes?q=" + quote(NASTY, safe=""), "/generations"]
    paths += [f"/generations/{generation.number}", f"/generations/{generation.number}/nodes/{quote(NASTY_ID, safe='')}"]
    with serving(kept, tmp_path) as client:
        pages = {path: client.get(f"/reader{path}") for path in paths}
        missing = client.get(f"/reader/runs/{quote(NASTY, safe='')}")
    for path, answer in pages.items():
        assert answer.status_code == 200, path
        page = Page(answer.text)
        assert "img" not in {tag for tag, _ in page.elements}, path
        assert "broken out" not in "".join(
            part for part in re.findall(r"<script[^>]*>(.*?)</script>", answer.text, re.DOTALL)
        ), path
    shown = Page(pages[paths[-1]].text).text
    assert " ".join(NASTY.split()) in shown
    assert Page(pages[f"/runs/{run_id(0)}"].text).text.count("broken out") > 5
    assert missing.status_code == 404
    assert "<img" not in missing.text


def test_a_volume_without_anything_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()

    with serving(warehouse.new(tmp_path / "volume"), tmp_path) as client:
        overview = text(client, "/")
        assert "Nothing yet No build is published on this volume. Start a deployment in the Prefect UI" in overview
        assert "There is no history yet. The next run writes it" in overview
        assert "Nothing is published. The first run that succeeds makes generation 1" in text(client, "/generations")
        assert "There is no history yet." in text(client, "/runs")
        assert "Nothing is published yet" in text(client, "/nodes")
        answer = client.get("/reader/generations/current")
        assert answer.status_code == 404
        assert "the first run that builds makes generation 1" in Page(answer.text).text
        assert client.get("/reader/generations/1").status_code == 404


def test_a_generation_without_history_and_manifest_is_shown_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    kept = warehouse.new(tmp_path / "volume")
    warehouse.build(kept, 5, "import of 4")

    with serving(kept, tmp_path, ui_url="https://prefect.example") as client:
        assert "by run import of 4." in text(client, "/")
        shown = text(client, "/generations/1")
        assert "This generation has no manifest.json" in shown
        assert "No earlier generation is kept" in shown
        assert "main.orders table 5" in shown
        assert "This generation has no manifest.json" in text(client, "/nodes")
        docs = text(client, "/generations/1/docs")
        assert "There are no docs of generation 1." in docs


def test_a_damaged_history_is_a_sentence_and_everything_else_is_there(
    copy: DuckDBFile, tmp_path: Path, number: int
) -> None:
    history = copy.volume.root / "history" / FILE
    whole = history.read_bytes()
    for damaged in (b"", b"nonsense" * 1000, whole[: len(whole) // 2], whole[:5000] + b"\xff" * (len(whole) - 5000)):
        history.write_bytes(damaged)
        with serving(copy, tmp_path) as client:
            for path in (
                "/",
                "/runs",
                f"/runs/{FAILED}",
                "/nodes",
                f"/generations/{number}/nodes/model.shop.fct_orders",
            ):
                assert "The history cannot be read." in text(client, path), (path, len(damaged))
            assert f"Generation {number}" in text(client, "/")


def test_a_damaged_manifest_or_generation_is_a_sentence(copy: DuckDBFile, tmp_path: Path, number: int) -> None:
    folder = copy.generations.folder(number)
    (folder / "manifest.json").write_text('{"nodes": [1')
    (copy.generations.folder(number - 1) / "warehouse.duckdb").write_bytes(b"cut")

    with serving(copy, tmp_path) as client:
        shown = text(client, f"/generations/{number}")
        assert "The manifest.json of this generation cannot be read." in shown
        assert "cut" not in shown
        assert f"dbtpod generations diff {number - 1} {number}" in shown
        assert "Its file is not whole." in text(client, f"/generations/{number - 1}")
        assert "Columns, lineage and SQL are not known." in text(
            client, f"/generations/{number}/nodes/model.shop.fct_orders"
        )


def test_a_lost_link_is_said_with_what_repairs_it(copy: DuckDBFile, tmp_path: Path) -> None:
    copy.volume.current.unlink()

    with serving(copy, tmp_path) as client:
        assert "published/current is missing" in text(client, "/")
        assert "dbtpod generations repair" in text(client, "/")
        assert "published/current is missing" in text(client, "/generations")


def test_a_history_that_is_replaced_is_seen_by_the_next_page(copy: DuckDBFile, tmp_path: Path) -> None:
    with serving(copy, tmp_path) as client:
        assert "1-50 of 120" in text(client, "/runs")
        newer = tmp_path / "newer"
        shutil.copytree(copy.volume.root, newer, symlinks=True)
        reader_volume.write_history(warehouse.new(newer), Story(runs=60))
        (newer / "history" / FILE).replace(copy.volume.root / "history" / FILE)
        assert "1-50 of 60" in text(client, "/runs")


def test_the_next_runs_are_those_of_prefect(
    shop: DuckDBFile, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine its server takes longer than a page waits.
    monkeypatch.setattr("dbtpod.reader.pages.server._SECONDS", 60.0)
    # Prefect's client asks again where the server's database is locked for a moment.
    with SyncPrefectClient(server.url) as prefect:
        flow = prefect.request("POST", "/flows/", json={"name": f"reader-{time.time()}"}).json()["id"]
        made = {"name": "build-nightly", "flow_id": flow}
        deployment = prefect.request("POST", "/deployments/", json=made).json()["id"]
        at = datetime.now(UTC) - timedelta(days=400)
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": at.isoformat()}}
        prefect.request(
            "POST", "/deployments/{id}/create_flow_run", path_params={"id": deployment}, json={"state": state}
        )

    with serving(shop, tmp_path, api=server.url) as client:
        shown = text(client, "/")
    assert f"build-nightly {at:%Y-%m-%d %H:%M} 400 d ago scheduled" in shown


def test_a_prefect_server_that_does_not_answer_is_said_and_holds_up_no_other_page(
    shop: DuckDBFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test ends the waiting, by closing the connection.
    monkeypatch.setattr("dbtpod.reader.pages.server._SECONDS", 60.0)
    monkeypatch.setattr("dbtpod.reader.pages.server._KEPT_SECONDS", 600.0)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.settimeout(30)
        address = f"http://127.0.0.1:{deaf.getsockname()[1]}/api"
        with serving(shop, tmp_path, api=address) as client:
            shown: list[str] = []
            asking = threading.Thread(target=lambda: shown.append(text(client, "/")))
            asking.start()
            connection, _ = deaf.accept()
            text(client, "/generations")
            assert asking.is_alive()
            connection.close()
            asking.join(30)
            assert "Prefect's server does not answer." in shown[0]

            deaf.setblocking(False)
            assert "Prefect's server does not answer." in text(client, "/")
            with pytest.raises(BlockingIOError):
                deaf.accept()


def test_links_follow_the_path_that_a_proxy_adds(shop: DuckDBFile, tmp_path: Path) -> None:
    reader = Reader(shop, "/reader", None, None, None, None, tmp_path / "cache")
    with TestClient(app.create(reader), root_path="/below") as client:
        found = Page(client.get("/below/reader/").text).links("http://testserver/")
    assert "http://testserver/below/reader/runs" in found
    assert {urlsplit(each).path.startswith("/below/reader/") for each in found if each != "http://testserver/"} == {
        True
    }


def test_a_reader_at_the_root_of_its_address_has_links_there(shop: DuckDBFile, tmp_path: Path) -> None:
    with serving(shop, tmp_path, path="") as client:
        found = Page(client.get("/").text).links("http://testserver/")
    assert "http://testserver/runs" in found
