"""A failed run continues after the fix, with a new image: only what is left is built, and the whole is published."""

import pytest

from faults import CONTENT
from images import FIXED_IMAGE, case
from release import BUILD, SMOKE, Release

pytestmark = pytest.mark.cluster


def failed(warehouse: Release) -> str:
    run = warehouse.prefect.run(BUILD, **case("fails"))
    assert run["state"]["name"] == "Failed"
    return str(run["id"])


def test_retried_with_the_fixed_project_it_builds_what_is_left_and_publishes_the_whole(warehouse: Release) -> None:
    run, before, rows = failed(warehouse), warehouse.generation(), warehouse.rows(CONTENT)

    ended = warehouse.prefect.retry(run, image=FIXED_IMAGE)

    assert ended["state"]["name"] == "Completed", warehouse.prefect.page(run)
    # The retry is without the variable CASE, which three other models read.
    warehouse.prefect.logged(run, "have other values: CASE")
    warehouse.prefect.logged(run, "Of the project has changed: model.shop.broken, ")
    warehouse.prefect.logged(run, "4 nodes are left")
    assert warehouse.generation() != before
    assert warehouse.rows(CONTENT) == rows


@pytest.mark.soak  # tests/dbt/test_continuing.py does it without a cluster
def test_retried_after_another_build_was_published_it_restarts_and_says_why(warehouse: Release) -> None:
    run = failed(warehouse)
    warehouse.prefect.completed(SMOKE)

    ended = warehouse.prefect.retry(run, image=FIXED_IMAGE)

    assert ended["state"]["name"] == "Completed", warehouse.prefect.page(run)
    warehouse.prefect.logged(run, "was published since it began from")
