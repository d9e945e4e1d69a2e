"""The sessions of the pages, `$ command` and what it prints, are typed on a real volume and print that."""

import doctest
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

import pages
import warehouse
from dbtpod import cli
from dbtpod.warehouse.warehouse import DuckDBFile
from pages import Block

RUNS = ["first", "second", "third", "fourth", "c2d8-run", "4f0c-run", "91ab-run"]
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00")
_SIZE = re.compile(r"[\d.]+ [kMG]B")


def history(kept: DuckDBFile) -> None:
    """Seven generations; the newest has more orders than the one before, and a table that is new."""
    for number, run in enumerate(RUNS, 1):
        warehouse.check_out(kept, run)
        with duckdb.connect(kept.volume.database) as connection:
            orders = 500 if number < 7 else 520
            connection.execute(f"create or replace table fct_orders as select range as id from range({orders})")
            if number == 7:
                connection.execute("create table dim_products as select range as id from range(12)")
        warehouse.publish_as(kept, run)


def preview(kept: DuckDBFile) -> None:
    """A build on top of them that has ten orders more, and is kept aside."""
    history(kept)
    warehouse.check_out(kept, "e07f-run")
    with duckdb.connect(kept.volume.database) as connection:
        connection.execute("insert into fct_orders select range as id from range(10)")
    warehouse.keep_aside_as(kept, "e07f-run")


def lost_link(kept: DuckDBFile) -> None:
    history(kept)
    kept.volume.current.unlink()


# What each session begins with, by the heading that it stands under.
BEGINNINGS: dict[str, Callable[[DuckDBFile], None]] = {
    "Generations": history,
    "Previews": preview,
    "Damage: check and repair": lost_link,
}


@pytest.mark.parametrize("block", pages.executed("session"), ids=str)
def test_a_session_prints_what_the_page_shows(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = warehouse.new(tmp_path / "data")
    kept.volume.work.mkdir(parents=True)
    (tmp_path / "dbt_project").mkdir()
    (tmp_path / "dbt_project" / "dbt_project.yml").touch()
    monkeypatch.setenv("DUCKDB_PATH", str(kept.volume.database))
    monkeypatch.setenv("DBT_PROJECT_DIR", str(tmp_path / "dbt_project"))
    BEGINNINGS[block.heading](kept)

    for entry in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, expected = entry.split("\n", 1)
        program, *arguments = shlex.split(command)
        assert program == "dbtpod"
        cli.main(arguments)
        printed = capsys.readouterr()
        got = alike((printed.out + printed.err).replace(str(kept.volume.root), "/data"))
        how = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(alike(expected), got, how), f"$ {command}\n{got}"


def alike(text: str) -> str:
    """Without what differs each time."""
    return _SIZE.sub("<size>", _TIME.sub("<time>", text))
