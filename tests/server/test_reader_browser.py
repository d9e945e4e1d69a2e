"""The reader's pages in a browser: no error, nothing wider than the window, and what comes by itself."""

from collections.abc import Iterator

import pytest

import browser
import reader_volume
from reader_volume import Story, run_id
from reading import Reading, reading

NODE = "model.shop.fct_orders"
STORY = Story(runs=40, fails={0: "rpt_cohorts", 9: "fct_orders"}, published=2)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    kept = reader_volume.volume(tmp_path_factory.mktemp("shop"), STORY)
    with reading(kept, tmp_path_factory.mktemp("reader")) as found:
        yield found


def newest(reader: Reading) -> int:
    return max(int(each["number"]) for each in reader.get("/data/generations.json").json())


@pytest.mark.parametrize("width", [1280, 360])
def test_every_page_fits_into_the_window_and_has_no_error(reader: Reading, width: int) -> None:
    number = newest(reader)
    of_one = (f"/generations/{number}", f"/generations/{number - 1}", f"/runs/{run_id(9)}")
    with browser.opened() as page:
        page.look(width=width, dark=width == 360)
        for path in ("/", "/generations", "/runs", "/nodes", *of_one, f"/generations/{number}/nodes/{NODE}"):
            page.go(f"{reader.url}{path}")
            assert page.ask("document.documentElement.scrollWidth") <= width, path
            assert page.count("figure.chart canvas") == page.count("figure.chart"), path

        assert page.problems == []


def test_the_docs_of_a_node_come_by_themselves_once_they_are_made(reader: Reading) -> None:
    with browser.opened() as page:
        page.go(f"{reader.url}/generations/{newest(reader) - 1}/nodes/{NODE}")
        page.click("a.button", "dbt docs")
        page.shows("Project", "Database", seconds=90)

        assert page.url.endswith(f"/docs#!/model/{NODE}")
