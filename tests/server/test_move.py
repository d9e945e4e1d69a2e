"""The data of a DuckDB file moved into a real PostgreSQL, where the project's runs then go on."""

import logging
from pathlib import Path

import duckdb
import pytest

import messages
import postgres
from dbtpod import cli
from dbtpod.moving.flow import move
from postgres import Postgres
from shop import write
from shop_flows import building, run

pytestmark = [pytest.mark.usefixtures("api"), pytest.mark.xdist_group("postgres")]

# Of each type that a table may have, with what CSV, quotes and NULL could change.
TYPES = r"""
select * from (values (
    1, true, (-128)::tinyint, 255::utinyint, 65535::usmallint, 4294967295::uinteger, 18446744073709551615::ubigint,
    170141183460469231731687303715884105727::hugeint, 12.345::decimal(18, 3), 0.1::float, 1e300::double,
    'a "quoted", text' || chr(10) || '\N', '', 'h\xC3\xA4\xC3\x9F\x00'::blob, date '1999-12-31', time '23:59:59.999999',
    timestamp '2026-01-02 03:04:05.123456', timestamptz '2026-01-02 03:04:05+02', interval '1 month -2 days 3 hours',
    uuid '6f1b2f9e-6b1c-4f0a-9a0b-1c2d3e4f5a6b', '{"a": [1]}'::json, 'red'::enum ('red', 'green'), [1, null, 3],
    {'x': 1, 'y': 'z'}, map {'k': 2}, '1011'::bit
), (
    null, null, null, null, null, null, null, null, null, null, 'nan'::double, null, null, null, null, null, null, null,
    null, null, null, null, null, null, null, null
)) as one(
    i, b, ti, ut, us, ui, ub, h, d, f, db, t, empty, bl, da, tm, ts, tz, iv, u, j, e, l, s, m, bi
)
"""
# What PostgreSQL says of the first row.
SHOWN = {
    "t": 'a "quoted", text\n\\N',
    "empty": "",
    "bl": r"\x68c3a4c39f00",
    "ub": "18446744073709551615",
    "h": "170141183460469231731687303715884105727",
    "d": "12.345",
    "f": "0.1",
    "ts": "2026-01-02 03:04:05.123456",
    "iv": "1 mon -2 days +03:00:00",
    "l": "[1, null, 3]",
    "s": '{"x": 1, "y": "z"}',
    "e": "red",
    "bi": "1011",
}
FILES = postgres.FILES | {
    "profiles.yml": postgres.PROFILE.replace("  target: dev\n", "  target: \"{{ env_var('SHOP_TARGET', 'file') }}\"\n")
    + "    file: {type: duckdb, path: shop.duckdb, threads: 1}\n",
    "models/types.sql": TYPES,
    "models/steps.sql": "{{ config(materialized='incremental') }} select {{ 2 if is_incremental() else 1 }} as step",
    "models/a_view.sql": "{{ config(materialized='view') }} select * from {{ ref('totals') }}",
    "models/shop.yml": postgres.FILES["models/shop.yml"].replace("::timestamp", ""),
}


@pytest.fixture
def schema(request: pytest.FixtureRequest) -> str:
    return "move_" + request.node.name.split("[")[0].removeprefix("test_")[:40]


@pytest.fixture
def built(project: Path, database: Postgres, schema: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project after a build into its DuckDB file; the kind is that of the server now."""
    write(project, FILES)
    for name, value in database.environment(schema).items():
        monkeypatch.setenv(name, value)
    assert run(building).is_completed()
    monkeypatch.setenv("SHOP_TARGET", "dev")
    monkeypatch.setenv("DBTPOD_WAREHOUSE_KIND", "remote")
    return project


def test_tables_of_every_type_arrive_whole_and_the_next_build_goes_on_from_them(
    built: Path, database: Postgres, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["move"]) == 0, capsys.readouterr().err

    said = capsys.readouterr()
    assert "Moved: 6 tables of generation 1" in said.out
    assert f"{schema}.facts, 2 rows, the same sums." in said.err
    shown = ", ".join(f"{column}::text" for column in SHOWN)
    [row] = database.ask(f"select {shown} from {schema}.types where i = 1")
    assert dict(zip(SHOWN, row, strict=True)) == SHOWN
    nulls = "t is null and empty is null and i is null and l is null and db = 'NaN'"
    assert database.ask(f"select count(*) from {schema}.types where {nulls}") == [(1,)]

    state = run(building, "build", "--exclude", "types")

    assert state.is_completed(), state.message
    # The incremental model had its row, and the view came with the build.
    assert database.ask(f"select step from {schema}.steps order by 1") == [(1,), (2,)]
    assert database.ask(f"select n from {schema}.a_view") == [(2,)]


def test_the_ready_flow_logs_what_it_moved(built: Path, database: Postgres, schema: str) -> None:
    with messages.kept(logging.INFO, "prefect.flow_runs") as said:
        state = move(return_state=True)

    assert state.is_completed(), state.message
    assert any("Moved: 6 tables of generation 1" in text for text in said)
    assert database.ask(f"select count(*) from {schema}_raw.orders") == [(2,)]


def test_what_is_there_already_is_named_and_nothing_is_changed(
    built: Path, database: Postgres, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    database.do(f"create schema {schema}; create table {schema}.totals (n int)")

    assert cli.main(["move"]) == 1

    assert f"Not moved: {schema}.totals is there already." in capsys.readouterr().err
    assert database.ask(f"select count(*) from information_schema.tables where table_schema like '{schema}%'") == [(1,)]


def test_a_table_that_differs_afterwards_undoes_all_of_it(
    built: Path, database: Postgres, schema: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # A server that loses a row as it comes.
    database.do(f"""
        create function lose() returns trigger language plpgsql as $$ begin return null; end $$;
        create function losing() returns event_trigger language plpgsql as $$ begin
            if exists (select from pg_event_trigger_ddl_commands() where object_identity = '{schema}.stg_orders') then
                create trigger lost before insert on {schema}.stg_orders for each row when (new.id = 2)
                execute function lose();
            end if;
        end $$;
        create event trigger losing on ddl_command_end when tag in ('CREATE TABLE') execute function losing();
    """)
    try:
        assert cli.main(["move"]) == 1
    finally:
        database.do("drop event trigger losing; drop function losing, lose")

    said = f"Not moved: {schema}.stg_orders is not what was sent. It has rows 1 and not 2, "
    assert said in capsys.readouterr().err
    assert database.ask(f"select count(*) from information_schema.tables where table_schema like '{schema}%'") == [(0,)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"DBTPOD_WAREHOUSE_KIND": "file", "SHOP_TARGET": "file"}, "Set warehouse.kind to ducklake or remote"),
        ({"SHOP_PASSWORD": "wrong"}, "password authentication failed"),
    ],
)
def test_what_cannot_be_is_said(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: dict[str, str], says: str
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value)

    assert cli.main(["move"]) == 1

    assert says in capsys.readouterr().err


def test_a_type_that_postgresql_has_not_is_named_with_its_table(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "volume" / "published" / "000001" / "warehouse.duckdb"
    file.chmod(0o644)
    with duckdb.connect(file) as connection:
        connection.execute("alter table stg_orders add column precise timestamp_ns")
        connection.execute("checkpoint")

    assert cli.main(["move", "1"]) == 1

    assert "column precise is of type TIMESTAMP_NS, for which PostgreSQL has none" in capsys.readouterr().err
