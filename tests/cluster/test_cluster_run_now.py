"""What a person starts from the form of `dbt-run`: a part of the project, published or kept aside, or an error."""

from typing import Any

import pytest

from release import RUN, Release

pytestmark = pytest.mark.cluster


def asked(warehouse: Release, **request: Any) -> dict[str, Any]:
    """Start a run as the form does, and return it at its end."""
    key = warehouse.prefect.call("GET", f"deployments/name/{RUN}")["id"]
    run = warehouse.prefect.call("POST", f"deployments/{key}/create_flow_run", parameters={"request": request})
    return warehouse.prefect.ended(run["id"])


def test_a_part_that_is_kept_aside_is_a_preview_and_readers_see_nothing_of_it(warehouse: Release) -> None:
    before = warehouse.generation()

    run = asked(warehouse, select=["stg_orders"], vars={"note": "{{ 'a b' }} ü"}, result="keep aside")

    assert run["state"]["name"] == "Completed", warehouse.prefect.page(run["id"])
    assert "kept aside as preview-" in run["state"]["message"]
    assert warehouse.generation() == before


def test_an_unknown_model_fails_with_the_nearest_name_before_the_lock(warehouse: Release) -> None:
    run = asked(warehouse, select=["stg_order"])

    assert run["state"]["name"] == "Failed"
    assert "did you mean 'stg_orders'?" in run["state"]["message"]


def test_a_part_that_is_published_is_what_readers_see_next(warehouse: Release) -> None:
    before = warehouse.generation()

    run = asked(warehouse, command="run", select=["stg_orders"])

    assert run["state"]["name"] == "Completed", warehouse.prefect.page(run["id"])
    assert warehouse.generation() != before
