"""Damage on the volume: what `generations check`, `repair` and `list` say and do about it."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import volume_damage as damaged
import warehouse
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import health
from dbtpod.warehouse.warehouse import DuckDBFile
from volume_damage import Case, Say, cases


def test_check_of_a_whole_volume_says_so(kept: DuckDBFile, say: Say) -> None:
    before = damaged.every_file(kept.volume.root)

    assert say(kept, "check") == (0, f"The volume {kept.volume.root} is whole: 3 generations.\n")
    assert say(kept, "repair") == (0, "There was nothing to repair.\n")
    assert damaged.every_file(kept.volume.root).keys() == before.keys()


@cases(damaged.LOST_LINKS, damaged.FACTS, damaged.OWNERS, damaged.OLD, damaged.KINDS, damaged.DATABASES)
def test_check_names_each_damage_on_a_line_repair_puts_it_right_and_no_database_is_lost(
    kept: DuckDBFile, case: Case, say: Say
) -> None:
    case.inflict(kept)
    files = _databases(kept.volume.root)

    code, said = say(kept, "check")
    assert code == 1
    assert [line for line in said.splitlines() if case.path in line], said
    assert say(kept, "list")[0] == 0
    code, said = say(kept, "repair")
    assert code == 0, said
    assert case.path in said

    assert _databases(kept.volume.root) == files
    code, said = say(kept, "check")
    assert code == 0, said
    damaged.build(kept)
    assert damaged.history(kept.readable)[:3] == [1, 2, 3]


def _databases(folder: Path) -> list[int]:
    return sorted(path.stat().st_ino for path in folder.rglob("*.duckdb") if path.is_file() and not path.is_symlink())


def test_a_newer_versions_key_is_no_damage(kept: DuckDBFile, say: Say) -> None:
    damaged.facts(3, damaged.changed(lineage={"new": True}))(kept)

    assert say(kept, "check")[0] == 0
    damaged.build(kept)
    assert damaged.history(kept.readable) == [1, 2, 3, 4]


def test_list_shows_what_the_folder_says_where_facts_are_damaged(kept: DuckDBFile, say: Say) -> None:
    damaged.facts(2, damaged.content(b"{"))(kept)
    damaged.current(kept).unlink()

    code, said = say(kept, "list")

    assert code == 0
    assert re.search(r"^  2 .*DuckDB unknown +from nothing +unknown$", said, re.MULTILINE)
    assert "000002/generation.json is not JSON." in said
    assert "published/current is missing." in said


def test_several_damages_at_once_are_all_repaired(kept: DuckDBFile, say: Say) -> None:
    for inflict in (
        damaged.database(3, lambda whole: whole[:5000]),
        damaged.facts(2, damaged.content(b"")),
        damaged.a_copy_instead_of_the_link,
        lambda kept: damaged.becomes_a_folder(kept.volume.lock),
        lambda kept: damaged.becomes_a_file(kept.volume.runs),
        damaged.owner(damaged.content(b"")),
    ):
        inflict(kept)

    code, said = say(kept, "repair")

    assert code == 0, said
    assert len(list(kept.volume.aside.iterdir())) == 6, said
    damaged.build(kept)
    assert damaged.history(kept.readable) == [1, 2, 3]


def test_repair_waits_for_a_run_that_builds(kept: DuckDBFile, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged.current(kept).unlink()
    monkeypatch.setattr(health.repair, "__defaults__", (0.2,))

    with warehouse.alone(kept):
        code, said = say(kept, "repair")

    assert code == 1
    assert "'test' (pod here) has been writing since" in said
    assert not damaged.current(kept).is_symlink()


# --- garbage ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)

FIELDS = st.dictionaries(
    st.sampled_from(["number", "run", "at", "size", "base", "dbtpod", "duckdb", "new"]),
    JSON | st.sampled_from([3, "2026-01-01", "2026-01-01T00:00:00+00:00", "a\nb", "\ud800", -1, 10**30]),
)

GARBAGE = (
    st.binary(max_size=50)
    | JSON.map(lambda value: json.dumps(value).encode())
    | FIELDS.map(lambda value: json.dumps(value).encode())
)


@pytest.mark.slow
@given(facts=GARBAGE, owner=GARBAGE)
@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_the_small_files_hold_nothing_fails_but_for_a_size_that_is_another(
    kept: DuckDBFile, say: Say, facts: bytes, owner: bytes
) -> None:
    """A size that is a whole number above 0, and not the file's, is the one word that must count."""
    path = damaged.generation(kept, 3) / "generation.json"
    path.write_bytes(facts)
    if kept.volume.database.exists():
        kept.volume.owner.write_bytes(owner)
    size = path.with_name("warehouse.duckdb").stat().st_size
    counts = kept.generations.all()[2].size != size

    assert say(kept, "list")[0] == 0
    say(kept, "check")
    if counts:
        with pytest.raises(WarehouseUnusable, match="when it was published"), warehouse.alone(kept):
            damaged.begin(kept)
    else:
        with warehouse.alone(kept):
            damaged.begin(kept)
        assert damaged.history(kept.volume.database) == [1, 2, 3]
