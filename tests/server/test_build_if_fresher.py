"""The ready flow that builds what has new data: real dbt over files that a loader replaces, a real Prefect API."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect import State

from dbtpod import fresher
from dbtpod.errors import DbtFailed, SettingsError
from dbtpod.fresher import build_if_fresher
from prefect_server import Server
from shop import write
from shop_flows import building, commands_of, run
from waiting import until

TABLE = """
      - name: {name}
        config:
          loaded_at_field: loaded_at
          freshness: {{warn_after: {{count: 1, period: hour}}, error_after: {{count: 2, period: hour}}}}
          meta: {{external_location: {folder}/{name}.csv}}"""
NAMES = ("orders", "payments")
SIX, SEVEN, EIGHT = (f"2026-01-01 {hour:02}:00:00" for hour in (6, 7, 8))

pytestmark = pytest.mark.usefixtures("api")


@pytest.fixture
def project(project: Path) -> Path:
    """Two sources of which rows are hours old, each with a model of its own, and one model of both."""
    tables = "".join(TABLE.format(name=name, folder=project) for name in NAMES)
    of_each = {
        f"models/of_{name}.sql": f"select count(*) as n from {{{{ source('raw', '{name}') }}}}" for name in NAMES
    }
    both = "select * from {{ ref('of_orders') }} union all select * from {{ ref('of_payments') }}"
    write(
        project,
        {"models/sources.yml": f"sources:\n  - name: raw\n    tables:{tables}\n", **of_each, "models/both.sql": both},
    )
    for name in NAMES:
        load(project, name, SIX)
    return project


def test_with_nothing_newer_it_is_completed_without_a_generation_and_without_the_lock(
    project: Path, published: Path
) -> None:
    built_and_recorded(published)

    with held_lock(published):
        state = run(build_if_fresher)

    assert state.is_completed(), state.message
    assert state.message == (
        "nothing new: the newest row is of 2026-01-01 06:00:00 UTC, in raw.orders; compared: raw.orders, raw.payments"
    )
    assert generations(published) == 1
    [command] = commands_of(state)
    assert command.state and command.state.is_completed(), "the rows are months old, which is no failure here"


def test_with_one_source_newer_only_what_is_built_on_it_is_built_and_the_report_names_it(
    project: Path, published: Path, server: Server
) -> None:
    built_and_recorded(published)
    load(project, "orders", SIX, SEVEN)
    load(project, "payments", SIX, SIX)

    state = run(build_if_fresher)

    cause = "newer: raw.orders has rows of 2026-01-01 07:00:00 UTC, and had of 2026-01-01 06:00:00 UTC"
    assert str(state.message).startswith(f"{cause}; 2 nodes: 2 success")
    assert rows(published) == {"of_orders": 2, "of_payments": 1}, "the payments have no newer row"
    pages = [each["data"] for each in artifacts(server, state) if each["type"] == "markdown"]
    assert any("newer: raw.orders has rows of" in page.splitlines()[0] for page in pages)
    assert str(run(build_if_fresher).message).startswith("nothing new: ")


@pytest.mark.soak
def test_with_all_sources_newer_all_is_built(project: Path, published: Path) -> None:
    built_and_recorded(published)
    for name in NAMES:
        load(project, name, SIX, SEVEN)

    state = run(build_if_fresher)

    assert "3 nodes: 3 success" in str(state.message)
    assert "raw.orders has rows" in str(state.message) and "raw.payments has rows" in str(state.message)
    assert rows(published) == {"of_orders": 2, "of_payments": 2}


def test_the_first_run_builds_everything_and_the_second_what_no_record_says_is_old(
    project: Path, published: Path
) -> None:
    states = [run(build_if_fresher) for _ in range(3)]

    assert "nothing was published before; 3 nodes" in str(states[0].message)
    assert "raw.orders has rows of 2026-01-01 06:00:00 UTC, and had none on record" in str(states[1].message)
    assert str(states[2].message).startswith("nothing new: ")
    assert generations(published) == 2


@pytest.mark.soak
def test_a_generation_that_another_run_publishes_keeps_the_record_of_its_base(project: Path, published: Path) -> None:
    built_and_recorded(published)
    load(project, "orders", SIX, SEVEN)
    run(building)

    state = run(build_if_fresher)

    assert times(published) == {"source.shop.raw.orders": SEVEN, "source.shop.raw.payments": SIX}
    assert "raw.orders has rows" in str(state.message), "one build too many at most, and never one too few"
    assert "raw.payments has rows" not in str(state.message)


@pytest.mark.soak
def test_rows_within_the_tolerance_are_not_recorded_so_they_add_up_until_they_are_built(
    project: Path, published: Path
) -> None:
    built_and_recorded(published)
    load(project, "orders", SEVEN)
    load(project, "payments", EIGHT)

    first = run(build_if_fresher, tolerance_minutes=60)
    load(project, "orders", EIGHT)
    second = run(build_if_fresher, tolerance_minutes=60)

    assert "raw.payments has rows" in str(first.message) and "raw.orders" not in str(first.message)
    assert "raw.orders has rows of 2026-01-01 08:00:00 UTC, and had of 2026-01-01 06" in str(second.message)
    assert times(published) == {"source.shop.raw.orders": EIGHT, "source.shop.raw.payments": EIGHT}


def test_before_the_minimum_interval_is_over_dbt_is_not_even_started(project: Path) -> None:
    run(building)
    (project / "dbt_project.yml").write_text("name: [")

    state = run(build_if_fresher, minimum_interval_minutes=60)

    assert state.is_completed()
    assert "nothing new was looked for: generation 1 is" in str(state.message)
    assert "the minimum interval is 1 h" in str(state.message)


@pytest.mark.soak
def test_a_source_that_cannot_be_asked_is_a_failure_and_a_stale_one_is_not(project: Path, published: Path) -> None:
    built_and_recorded(published)
    assert run(build_if_fresher).is_completed(), "the rows are months old"
    (project / "payments.csv").unlink()

    state = run(build_if_fresher)

    assert isinstance(state.result(raise_on_failure=False), DbtFailed)
    assert "source.shop.raw.payments" in str(state.message)
    assert generations(published) == 1


@pytest.mark.soak
def test_a_source_without_a_time_starts_no_build_and_is_built_along(project: Path, published: Path) -> None:
    for yml in (project / "models").glob("*.yml"):
        location = f"config: {{meta: {{external_location: {project}/plain.csv}}}}"
        yml.write_text(yml.read_text() + f"      - {{name: plain, {location}}}\n")
    load(project, "plain", SIX)
    (project / "models" / "of_plain.sql").write_text("select count(*) as n from {{ source('raw', 'plain') }}")
    built_and_recorded(published)
    load(project, "plain", SIX, SEVEN)
    idle = run(build_if_fresher)
    load(project, "orders", SEVEN)

    state = run(build_if_fresher)

    assert str(idle.message).startswith("nothing new: ")
    assert str(idle.message).endswith("; not compared, as they have no time: raw.plain")
    assert "built along, as they have no time: raw.plain; 3 nodes" in str(state.message)
    with duckdb.connect(published, read_only=True) as database:
        assert database.sql("select n from of_plain").fetchall() == [(2,)]


@pytest.mark.soak
def test_only_the_sources_that_are_named_are_compared(project: Path, published: Path) -> None:
    built_and_recorded(published)
    load(project, "orders", SEVEN)

    state = run(build_if_fresher, select=["source:raw.payments"])

    assert str(state.message).endswith("compared: raw.payments")
    assert str(run(build_if_fresher).message).startswith("newer: raw.orders")


def test_a_project_with_nothing_to_compare_is_told_so(project: Path) -> None:
    run(building)

    state = run(build_if_fresher, select=["source:nowhere"])

    assert isinstance(state.result(raise_on_failure=False), SettingsError)
    assert "no source of source:nowhere that a model is built on has both loaded_at_field and freshness" in str(
        state.message
    )


@pytest.mark.soak
def test_a_run_that_is_started_again_builds_what_it_had_found_and_records_no_later_rows(
    project: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_and_recorded(published)
    load(project, "orders", SEVEN)
    build = fresher._build

    def dies_once(*args: Any) -> State[None]:
        monkeypatch.setattr(fresher, "_build", build)
        load(project, "orders", EIGHT)
        return build_if_fresher.fn()

    monkeypatch.setattr(fresher, "_build", dies_once)
    state = run(build_if_fresher)

    assert "raw.orders has rows of 2026-01-01 07:00:00 UTC" in str(state.message)
    assert times(published)["source.shop.raw.orders"] == SEVEN
    assert "has rows of 2026-01-01 08:00:00 UTC" in str(run(build_if_fresher).message)


@pytest.mark.soak
def test_without_a_tolerance_it_builds_what_dbt_calls_fresher(project: Path, published: Path, tmp_path: Path) -> None:
    run(building)
    run(build_if_fresher)
    state = tmp_path / "state"
    state.mkdir()
    (state / "sources.json").write_bytes((published.parent / "sources.json").read_bytes())
    load(project, "orders", SIX, SEVEN)
    ended = run(build_if_fresher)
    run_id = ended.state_details.flow_run_id
    [plan] = (tmp_path / "volume" / "runs").glob(f"{run_id}-freshness/plan.json")
    [asked] = (tmp_path / "volume" / "runs").glob(f"{run_id}-freshness/1-source/attempt-1")

    ours = listed(project, published, asked, "--select", *json.loads(plan.read_text())["select"])
    theirs = listed(project, published, asked, "--select", "source_status:fresher+", "--state", str(state))

    assert ours == theirs != set()


def built_and_recorded(published: Path) -> None:
    """Publish a build, with the rows of six o'clock on record."""
    run(building)
    results = [{"unique_id": f"source.shop.raw.{name}", "max_loaded_at": f"{SIX}+00:00"} for name in NAMES]
    schema = "https://schemas.getdbt.com/dbt/sources/v3.json"
    recorded = {"metadata": {"dbt_schema_version": schema}, "results": results, "elapsed_time": 0.0}
    (published.parent / "sources.json").write_text(json.dumps(recorded))


def load(project: Path, table: str, *loaded: str) -> None:
    """Replace a source's file, as a loader does."""
    (project / f"{table}.csv").write_text("\n".join(["loaded_at", *loaded, ""]))


def generations(published: Path) -> int:
    return len([each for each in published.parents[1].iterdir() if each.name.isdecimal()])


def rows(published: Path) -> dict[str, int]:
    with duckdb.connect(published, read_only=True) as database:
        return {name: database.sql(f"select n from {name}").fetchall()[0][0] for name in ("of_orders", "of_payments")}


def times(published: Path) -> dict[str, str]:
    """What the current generation has on record."""
    found = json.loads((published.parent / "sources.json").read_text())["results"]
    return {each["unique_id"]: each["max_loaded_at"][:19].replace("T", " ") for each in found}


def artifacts(server: Server, state: State[Any]) -> list[dict[str, Any]]:
    run_id = str(state.state_details.flow_run_id)
    return until(lambda: server.filter("artifacts", run_id))


def listed(project: Path, published: Path, target: Path, *selection: str) -> set[str]:
    places = ["--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(target)]
    command = [str(Path(sys.executable).with_name("dbt")), "--quiet", "ls", "--resource-type", "model", *places]
    done = subprocess.run([*command, *selection], cwd=project, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@contextmanager
def held_lock(published: Path) -> Iterator[None]:
    """Have another process be the writer: a run that wants the lock would wait ten minutes."""
    hold = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); "
    command = [sys.executable, "-c", hold + "time.sleep(600)", published.parents[2] / "writer.lock"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()
