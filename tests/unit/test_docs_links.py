"""Links between the pages lead somewhere, and each page is reached."""

import re

import pytest

import pages
from pages import ROOT

PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in pages.paths()}


@pytest.mark.parametrize("page", PAGES)
def test_a_link_leads_to_a_page_and_to_a_heading_of_it(page: str) -> None:
    for link in pages.links(PAGES[page]):
        if re.match(r"https?:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), link
        assert not anchor or anchor in pages.anchors(path.read_text()), link


def test_each_page_is_reached_from_the_readme() -> None:
    reached, new = {"README.md"}, ["README.md"]
    while new:
        page = new.pop()
        for link in pages.links(PAGES[page]):
            path = ((ROOT / page).parent / link.partition("#")[0]).resolve()
            name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""
            if name in PAGES and name not in reached:
                reached.add(name)
                new.append(name)

    assert set(PAGES) - reached == set()
