"""Which sources have newer rows than recorded, and what is recorded of a build."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dbtpod.dbt import source_times

SIX, SEVEN = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (6, 7))
ORDERS, PAYMENTS = "source.shop.raw.orders", "source.shop.raw.payments"


def written(path: Path, **times: datetime) -> Path:
    """A sources.json as dbt writes it."""
    results = [{"unique_id": f"source.shop.raw.{name}", "max_loaded_at": at.isoformat()} for name, at in times.items()]
    path.write_text(json.dumps({"metadata": {"invocation_id": path.name}, "results": results, "elapsed_time": 0.1}))
    return path


@pytest.mark.parametrize(
    ("recorded", "minutes", "expected"),
    [
        ({ORDERS: SIX}, 0, [ORDERS]),
        ({ORDERS: SIX}, 59, [ORDERS]),
        ({ORDERS: SIX}, 60, []),
        ({ORDERS: SEVEN}, 0, []),
        ({ORDERS: SEVEN + timedelta(hours=1)}, 0, []),
        ({}, 600, [ORDERS]),
    ],
    ids=["newer", "by more than the tolerance", "within it", "as recorded", "rows were removed", "not recorded"],
)
def test_a_source_is_newer_by_more_than_the_tolerance_or_where_there_is_no_record(
    recorded: dict[str, datetime], minutes: int, expected: list[str]
) -> None:
    assert source_times.newer({ORDERS: SEVEN}, recorded, timedelta(minutes=minutes)) == expected


@pytest.mark.parametrize("text", ["", "{", "[]", '{"results": 1}', '{"results": [{"max_loaded_at": "soon"}]}'])
def test_a_record_that_cannot_be_read_is_none_so_that_all_counts_as_newer(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.json").write_text(text)

    assert source_times.read(tmp_path / "sources.json") == {}
    found = written(tmp_path / "found.json", orders=SIX)
    assert source_times.record(found, tmp_path / "sources.json", [ORDERS])["results"]


def test_a_source_that_could_not_be_asked_has_no_time(tmp_path: Path) -> None:
    path = written(tmp_path / "sources.json", orders=SIX)
    made: dict[str, Any] = json.loads(path.read_text())
    made["results"].append({"unique_id": PAYMENTS, "error": "no such table", "status": "runtime error"})
    path.write_text(json.dumps(made))

    assert source_times.read(path) == {ORDERS: SIX}


def test_only_what_is_built_gets_a_new_time_on_record(tmp_path: Path) -> None:
    recorded = written(tmp_path / "recorded.json", orders=SIX, payments=SIX, gone=SIX)
    found = written(tmp_path / "found.json", orders=SEVEN, payments=SEVEN, unread=SEVEN)

    made = source_times.record(found, recorded, [ORDERS])

    assert {each["unique_id"]: each["max_loaded_at"] for each in made["results"]} == {
        ORDERS: SEVEN.isoformat(),
        PAYMENTS: SIX.isoformat(),
        "source.shop.raw.gone": SIX.isoformat(),
    }
    assert made["metadata"]["invocation_id"] == "found.json"


def test_a_source_that_only_a_test_or_an_exposure_reads_is_no_reason_to_build() -> None:
    parents = {
        "model.shop.of_orders": [ORDERS],
        "snapshot.shop.customers": ["source.crm.raw.customers", "model.shop.of_orders"],
        "test.shop.source_unique.0a1b2c3d4e": [PAYMENTS],
        "exposure.shop.report": [PAYMENTS],
        PAYMENTS: [],
    }

    assert source_times.built_on(parents) == {ORDERS, "source.crm.raw.customers"}


@pytest.mark.parametrize(
    ("source", "selector"),
    [
        (ORDERS, "source:shop.raw.orders+"),
        ("source.shop.raw data.orders, new", "source:shop.raw?data.orders??new+"),
        ("source.shop.raw.v1.orders", "source:shop.raw*.*orders+"),
    ],
)
def test_a_selector_has_no_sign_that_dbt_takes_for_its_own(source: str, selector: str) -> None:
    assert source_times.selector(source) == selector
