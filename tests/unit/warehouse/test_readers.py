"""Readers while builds are published and removed."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import warehouse
from dbtpod.warehouse import housekeeping, publish_preview

READER = """
import sys, time, duckdb
seen, path = [], sys.argv[1]
while not seen or seen[-1] < int(sys.argv[2]):
    with duckdb.connect(path, read_only=True) as connection:
        a, b, c = (connection.table(name).count("*").fetchall()[0][0] for name in ("customers", "orders", "per_order"))
    assert a == b == c, (a, b, c)
    seen.append(a)
    if len(seen) == 1:
        print("reading", flush=True)
assert seen == sorted(seen)
print(len(seen))
"""


@pytest.mark.slow
def test_a_reader_that_opens_current_all_the_time_never_fails_during_thirty_builds(tmp_path: Path) -> None:
    kept = warehouse.new(tmp_path, keep=1)
    warehouse.build(kept, 1)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(kept.readable), "30"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for rows in range(2, 31):
            housekeeping.clean(kept.publisher, "run")
            warehouse.build(kept, rows)
        output, _ = reader.communicate(timeout=60)
    finally:
        reader.kill()

    assert reader.returncode == 0
    assert int(output) > 30


def test_a_reader_that_opens_current_all_the_time_never_fails_while_previews_are_made_and_published(
    tmp_path: Path,
) -> None:
    kept = warehouse.new(tmp_path, keep=1)
    warehouse.build(kept, 1)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(kept.readable), "8"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for rows in range(2, 9):
            housekeeping.clean(kept.publisher, "run")
            preview = warehouse.keep_aside(kept, rows)
            publish_preview.publish(kept.publisher, preview.number)
        output, _ = reader.communicate(timeout=60)
    finally:
        reader.kill()

    assert reader.returncode == 0
    assert int(output) > 8


def test_a_reader_keeps_a_preview_that_it_opened_after_it_was_removed(tmp_path: Path) -> None:
    kept = warehouse.new(tmp_path)
    preview = warehouse.keep_aside(kept, 2)
    with duckdb.connect(preview.database, read_only=True) as reader:
        publish_preview.remove_one(kept.publisher, preview.number)

        assert not preview.database.exists()
        assert reader.execute("SELECT count(*) FROM per_order").fetchall() == [(2,)]


def test_a_reader_keeps_the_generation_it_opened_after_it_was_removed(tmp_path: Path) -> None:
    kept = warehouse.new(tmp_path, keep=1)
    opened = warehouse.build(kept, 1).database
    code = (
        "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True); print('open', flush=True);"
        "sys.stdin.readline(); print(c.execute('SELECT count(*) FROM per_order').fetchall())"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(kept.readable)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        warehouse.build(kept, 2)
        warehouse.build(kept, 3)
        housekeeping.clean(kept.publisher, "run")
        assert not opened.exists()
        output, _ = reader.communicate("\n", timeout=30)
    finally:
        reader.kill()

    assert output == "[(1,)]\n"
