"""Docs and lineage are made one after the other beside the reader, and kept while their generation is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import waiting
import warehouse
from dbtpod.docs import make, site
from dbtpod.docs.made import Answer, Made
from dbtpod.docs.making import Bounds
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.warehouse import DuckDBFile

pytestmark = pytest.mark.slow
Start = Callable[..., Made]
PER_ORDER = "model.shop.per_order"


def node(name: str, kind: str, **more: object) -> dict[str, object]:
    place = {"database": "warehouse", "schema": "main", "alias": name, "name": name, "resource_type": kind}
    return {**place, "checksum": {"checksum": name}, "config": {}, "relation_name": f"warehouse.main.{name}", **more}


MANIFEST: dict[str, dict[str, object]] = {
    "metadata": {},
    "nodes": {
        "seed.shop.orders": node("orders", "seed"),
        PER_ORDER: node("per_order", "model", language="sql", compiled_code="SELECT * FROM warehouse.main.orders"),
    },
    "sources": {},
}


@pytest.fixture
def kept(memory: Path) -> DuckDBFile:
    found = warehouse.new(memory / "volume", keep=9)
    found.volume.work.mkdir(parents=True)
    return found


@pytest.fixture
def start(memory: Path) -> Iterator[Start]:
    started: list[Made] = []

    def begin(**options: object) -> Made:
        started.append(Made(memory / "cache", **options))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for one in started:
        one.close()


def build(kept: DuckDBFile, text: str = json.dumps(MANIFEST)) -> Generation:
    manifest = kept.volume.root.parent / "manifest.json"
    manifest.write_text(text)
    return warehouse.build(kept, 3, artifacts=(manifest,))


def slow() -> str:
    """A manifest that takes a while, and some memory."""
    return json.dumps({**MANIFEST, "much": [{"a": 0}] * 1_000_000})


def end(ask: Callable[[], Answer]) -> Answer:
    """Ask until it is made, or is not."""
    return waiting.until(lambda: (answer := ask()) and not answer.is_being_made and answer, 120)


def children() -> dict[int, bytes]:
    """The command line of each process of `make` that this one has started."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            command = process.joinpath("cmdline").read_bytes()
        except OSError:
            continue
        if parent == str(os.getpid()) and make.__name__.encode() in command:
            found[int(process.name)] = command
    return found


def test_the_first_who_asks_learns_that_it_is_being_made_and_then_it_is_there(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(), build(kept)

    assert made.docs(generation) == Answer() and made.docs(generation).is_being_made
    docs, lineage = end(lambda: made.docs(generation)).path, end(lambda: made.lineage(generation)).path

    assert docs and "per_order" in docs.read_text() and docs.suffix == ".html"
    assert lineage and json.loads(lineage.read_text())["nodes"] == {
        PER_ORDER: {"columns": {"id": [["seed.shop.orders", "id"]]}, "problem": ""}
    }


def test_nothing_is_written_on_the_volume(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(), build(kept)
    before = sorted((path, path.lstat().st_mtime_ns) for path in kept.volume.root.rglob("*"))

    assert end(lambda: made.docs(generation)).path and end(lambda: made.lineage(generation)).path

    assert sorted((path, path.lstat().st_mtime_ns) for path in kept.volume.root.rglob("*")) == before


def test_what_was_made_is_there_for_the_next_process(kept: DuckDBFile, start: Start) -> None:
    generation, first = build(kept), start()
    path = end(lambda: first.docs(generation)).path
    first.close()

    assert start().docs(generation) == Answer(path)


def test_a_generation_without_a_manifest_says_why_it_has_none(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(), warehouse.build(kept, 3)

    for answer in (made.docs(generation), made.lineage(generation)):
        assert "no manifest.json" in answer.problem and answer.path is None


def test_a_generation_that_is_gone_says_so(kept: DuckDBFile, start: Start) -> None:
    generation = build(kept)
    shutil.rmtree(generation.database.parent)

    assert start().docs(generation).problem == "Generation 1 is not kept any more."


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"nodes": [], "sources": {}}', "[" * 10**5, "\x00"], ids=range(6))
def test_what_is_no_manifest_is_said_to_be_damaged(text: str) -> None:
    with pytest.raises(WarehouseUnusable, match="damaged"):
        site.read(text.encode())


def test_a_damaged_manifest_is_a_reason(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(), build(kept, "{")

    for ask in (made.docs, made.lineage):
        assert "damaged" in end(lambda ask=ask: ask(generation)).problem  # type: ignore[misc]


def test_a_database_that_cannot_be_opened_is_a_reason(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(), build(kept)
    generation.database.write_bytes(b"nothing")

    assert "cannot be read" in end(lambda: made.docs(generation)).problem


def test_the_current_generation_comes_first_and_then_the_newest(kept: DuckDBFile, start: Start, memory: Path) -> None:
    first, second, third, fourth = build(kept), build(kept), build(kept, slow()), build(kept)
    kept.publisher.roll_back(second.number)
    made, most = start(), 0

    made.docs(third)
    waiting.until(children)
    for generation in (first, second, fourth):
        made.docs(generation)
    while [path for path in (first, second, third, fourth) if made.docs(path).is_being_made]:
        most = max(most, len(children()))
        time.sleep(0.02)

    folders = sorted((memory / "cache").glob("0*"), key=lambda folder: folder.stat().st_mtime_ns)
    # The third was being made before the others were asked for.
    assert [int(folder.name[:6]) for folder in folders] == [3, 2, 4, 1]
    assert most == 1


def test_many_threads_may_ask_at_once(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(), build(kept)
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(end(lambda: made.docs(generation)))) for _ in range(20)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert len(answers) == 20 and len(set(answers)) == 1 and answers[0].path


def test_a_process_that_is_killed_is_a_reason_until_it_is_tried_again(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(retry_seconds=3), build(kept, slow())
    made.docs(generation)
    [child] = waiting.until(children)

    os.kill(child, signal.SIGKILL)

    assert "SIGKILL" in end(lambda: made.docs(generation)).problem
    assert not children() and made.docs(generation).problem
    waiting.until(lambda: made.docs(generation).path)


def test_one_that_needs_too_much_memory_is_a_reason(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(bounds=Bounds(memory=250 << 20)), build(kept, slow())

    assert end(lambda: made.docs(generation)).problem == "It needs more than 250 MiB of memory."


def test_one_that_takes_too_long_is_a_reason(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(bounds=Bounds(seconds=0.2)), build(kept, slow())

    assert end(lambda: made.docs(generation)).problem == "It took longer than 0 s."
    assert not children()


def test_a_page_that_is_too_large_is_a_reason(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(bounds=Bounds(size=1 << 16)), build(kept)

    assert "too large" in end(lambda: made.docs(generation)).problem


def test_the_process_is_of_the_lowest_priority_and_sees_no_secret(
    kept: DuckDBFile, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:secret")
    made, generation = start(), build(kept, slow())
    made.docs(generation)

    [child] = waiting.until(lambda: [pid for pid in children() if os.getpriority(os.PRIO_PROCESS, pid) == 19])

    assert b"secret" not in Path(f"/proc/{child}/environ").read_bytes()


def test_a_database_under_the_same_number_is_another(kept: DuckDBFile, start: Start) -> None:
    made, generation = start(), build(kept)
    first = end(lambda: made.docs(generation)).path

    os.utime(generation.database)

    assert made.docs(generation).is_being_made
    second = end(lambda: made.docs(generation)).path
    assert first and second and first != second and not first.exists()


def test_the_cache_forgets_generations_that_are_gone(kept: DuckDBFile, start: Start) -> None:
    made, old, new = start(), build(kept), build(kept)
    path = end(lambda: made.docs(old)).path
    shutil.rmtree(old.database.parent)

    assert end(lambda: made.docs(new)).path

    assert path and waiting.until(lambda: not path.parent.exists())


def test_the_cache_keeps_to_its_size_and_what_was_asked_for_last(kept: DuckDBFile, start: Start) -> None:
    generations = [build(kept) for _ in range(3)]
    # Of pages of 1.8 MB, two.
    made = start(cache_bytes=4_000_000)
    first, second = (end(lambda one=one: made.docs(one)).path for one in generations[:2])  # type: ignore[misc]
    assert first and second and made.docs(generations[0]).path

    third = end(lambda: made.docs(generations[2])).path

    assert third and waiting.until(lambda: not second.exists())
    assert first.exists() and third.exists()


def test_nothing_is_left_when_the_reader_ends(kept: DuckDBFile, start: Start, memory: Path) -> None:
    made, generation = start(), build(kept, slow())
    made.docs(generation)
    waiting.until(children)

    made.close()

    assert not children() and list((memory / "cache").iterdir()) == []
    assert made.docs(generation).problem


def test_the_process_dies_with_a_reader_that_is_killed(kept: DuckDBFile, memory: Path) -> None:
    generation = build(kept, slow())
    code = """
import sys, time
from pathlib import Path
from dbtpod.docs.made import Made
from dbtpod.warehouse.generations import Generations
from dbtpod.warehouse.volume import Volume
made = Made(Path(sys.argv[1]))
made.docs(Generations(Volume(Path(sys.argv[2]))).find(1))
while not (made._running and made._running[1]):
    time.sleep(0.01)
print(made._running[1]._process.pid, flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(memory / "cache"), str(kept.volume.database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout and generation.number == 1
        child = int(reader.stdout.readline())
        reader.kill()

    waiting.until(lambda: not Path(f"/proc/{child}/cmdline").exists() or not _command(child))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
