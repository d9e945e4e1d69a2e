"""The reader of a release as people see it: every page in a browser, and a rollback that moves all of them together."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

import browser
import images
from browser import Page
from images import case
from kube import Cluster
from release import BUILD, RUN, Release

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(600)]

# Another one each time: a cluster that was kept has those of before.
NAME = f"newcomer_{uuid4().hex[:8]}"
NEWCOMER = f"An order for each day on which somebody came, by {NAME}."
MODELS = {
    f"{NAME}.sql": "{{ config(materialized='table') }} select order_id, ordered_at from {{ ref('fct_orders') }}",
    f"{NAME}.yml": f"""
models:
  - name: {NAME}
    description: {NEWCOMER}
    columns: [{{name: order_id, description: The key of an order.}}]
""",
}
FCT_ORDERS, NEW = "model.shop.fct_orders", f"model.shop.{NAME}"
# What dbt's own page says against itself, wherever it is opened: links that its script has not yet written.
OF_DBT = ("getIcon", "favicon.ico")


@dataclass(frozen=True)
class Story:
    """What happened before the reader is opened: a build, a run that failed, and a build with one model more."""

    earlier: int
    newest: int
    failed: str
    newcomer: str


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    files = {f"dbt_project/models/marts/{name}": text for name, text in MODELS.items()}
    made = images.variant(tmp_path_factory.mktemp("newcomer"), "newcomer", files)
    cluster.load(made)
    return made


@pytest.fixture(scope="module")
def story(reading: Release, image: str) -> Story:
    reading.prefect.completed(BUILD)
    earlier = int(reading.generation())
    failed = reading.prefect.run(BUILD, **case("fails"))
    assert failed["state"]["name"] == "Failed"
    part = {"request": {"command": "build", "select": [NAME]}}
    run = reading.prefect.ended(reading.prefect.start_with(RUN, part, image=image))
    assert run["state"]["name"] == "Completed", reading.prefect.page(run["id"])
    return Story(earlier, int(reading.generation()), failed["id"], run["id"])


@pytest.fixture
def page(reading: Release) -> Iterator[Page]:
    """A browser that knows the login."""
    with browser.opened() as page:
        page.log_in(*reading.login)
        yield page


def pages(story: Story) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every page, and what has to be on it."""
    new, old = story.newest, story.earlier
    yield (
        "/",
        (
            f"Generation {new}",
            "Runs",
            "Failing now",
            "broken",
            "Next runs",
            "dbt-source-freshness",
            "ATTACH",
            "CREATE SECRET",
        ),
    )
    yield "/generations", (f"{new} current", f"{old}", "Previews", "DuckDB")
    yield (
        f"/generations/{new}",
        (f"What changed since generation {old}", f"added main.{NAME}", "main.fct_orders", "CSV"),
    )
    yield f"/generations/{old}", ("Make it current again", f"dbtpod generations rollback {old}", "main.fct_orders")
    yield "/runs", ("Time that each run took", "failed", "completed", "dbt-build-daily", "dbt-run")
    yield (
        f"/runs/{story.failed}",
        ("Failures", "broken", "no_such_table", "Timing by thread", "Thread-2", "Exit code dbt build 1"),
    )
    yield f"/runs/{story.newcomer}", (f"generation {new}", NAME, "Timing by thread", f"--select {NAME}")
    yield "/nodes", ("fct_orders", "raw_orders", NAME, NEWCOMER, "success")
    yield f"/nodes?q={NAME}&kind=model", (NAME,)
    yield (
        f"/generations/{new}/nodes/{NEW}",
        (NEWCOMER, "Lineage", "The key of an order.", "Compiled", "nothing reads it"),
    )
    yield (
        f"/generations/{new}/nodes/{FCT_ORDERS}",
        (f"{NAME} model", "Columns", "Tests", "Executions", "strategy_by_key"),
    )
    yield f"/generations/{old}/nodes/{FCT_ORDERS}", ("Lineage", "stg_orders", "Columns", "Executions")
    yield f"/generations/{new}/nodes/{quote('seed.shop.raw_orders', safe='')}", ("Columns", "stg_orders", "Executions")


def test_every_page_is_whole_in_a_browser_on_a_desk_and_on_a_phone(page: Page, address: str, story: Story) -> None:
    for width in (1280, 360):
        page.look(width=width, dark=width == 360)
        for path, texts in pages(story):
            page.go(f"{address}{path}")
            page.shows(*texts, seconds=60)
            assert page.ask("document.documentElement.scrollWidth") <= width, path
            figures = page.count("figure.chart")
            assert page.count("figure.chart canvas") == figures, path

    assert page.problems == []
    assert not [each for each in page.answers if each[1].startswith("http") and not each[1].startswith(address)]


def test_a_person_comes_from_the_overview_to_everything_by_clicks(page: Page, address: str, story: Story) -> None:
    page.go(f"{address}/")
    page.click("nav a", "Generations")
    page.shows("Previews")
    page.click("td a", str(story.newest))
    page.shows("What changed since")
    page.click("td a", "main.fct_orders")
    page.shows("Lineage", "Executions")
    page.click(".lineage a", NAME)
    page.shows(NEWCOMER)
    page.click("nav a", "Runs")
    page.click(".tabs a", "failed")
    page.shows("failed")
    page.click(f'td a[href$="{story.failed}"]')
    page.shows("no_such_table")
    page.click("nav a", "Nodes")
    page.write("#q", NAME)
    page.click("button", "Search")
    page.until(lambda: f"q={NAME}" in page.url)
    page.click("td a", NAME)
    page.shows(NEWCOMER)
    page.click("a.button", "dbt docs")
    page.shows(NAME, "Details", NEWCOMER, seconds=90)

    assert page.url.endswith(f"/generations/{story.newest}/docs#!/model/{NEW}")
    assert not [each for each in page.problems if not any(known in each for known in OF_DBT)]


def test_the_lineage_of_columns_comes_to_the_page_of_a_node(page: Page, address: str, story: Story) -> None:
    where = f"{address}/generations/{story.newest}/nodes/{NEW}"

    def made() -> bool:
        page.go(where)
        return page.there("td.places a", "fct_orders.order_id")

    page.until(made, 90, "the lineage of newcomer's columns")
    page.click("td.places a", "fct_orders.order_id")
    page.shows("fct_orders", "stg_orders")

    assert page.url.endswith(f"/nodes/{FCT_ORDERS}#column-order_id")
    assert page.problems == []


def test_the_docs_of_each_generation_are_its_own(page: Page, address: str, story: Story) -> None:
    for number in (story.newest, story.earlier):
        page.go(f"{address}/generations/{number}/docs")
        page.shows("Project", "Database", "shop", seconds=90)
        page.go(f"{address}/generations/{number}/docs#!/model/{FCT_ORDERS}")
        page.shows("fct_orders", "Columns", "order_id", "# ROWS")
        assert page.ask(f"document.documentElement.outerHTML.includes('{NEWCOMER}')") == (number == story.newest)

    assert not [each for each in page.problems if not any(known in each for known in OF_DBT)]


def seen(page: Page, address: str, login: tuple[str, str]) -> tuple[int, bool, bool, bool]:
    """The current generation, and whether the newcomer is in its data, its docs and its lineage."""
    page.go(f"{address}/")
    page.click(".hero h1 a")
    page.shows("Tables and views")
    number = int(str(page.ask("document.querySelector('h1').innerText")).split()[1])
    listed = page.there("td a", f"main.{NAME}")
    rows = httpx.get(f"{address}/data/current/tables/main.{NAME}.csv", auth=login, follow_redirects=True, timeout=60)
    assert listed == (rows.status_code == httpx.codes.OK), rows.text[:200]

    page.click("nav a", "Docs")
    page.shows("Project", "Database", seconds=90)
    assert page.url.partition("#")[0].endswith(f"/generations/{number}/docs")
    docs = page.ask(f"document.documentElement.outerHTML.includes('{NEWCOMER}')") is True

    page.go(f"{address}/generations/current/nodes/{FCT_ORDERS}")
    page.shows("Lineage")
    assert f"/generations/{number}/" in page.url
    return number, listed, docs, page.there(".lineage a", NAME)


def test_a_rollback_moves_data_docs_and_lineage_together(
    reading: Release, page: Page, address: str, story: Story
) -> None:
    login = reading.login
    assert seen(page, address, login) == (story.newest, True, True, True)

    reading.dbtpod("generations", "rollback", str(story.earlier))
    try:
        assert seen(page, address, login) == (story.earlier, False, False, False)
        # It is there under its number, with the way back to it.
        page.go(f"{address}/generations/{story.newest}")
        page.shows("Make it current again", f"dbtpod generations rollback {story.newest}", f"main.{NAME}")
    finally:
        reading.dbtpod("generations", "rollback", str(story.newest))

    assert seen(page, address, login) == (story.newest, True, True, True)
