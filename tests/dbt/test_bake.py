"""A project as cloned, baked with real dbt: runs parse nothing and build in the volume's file; no secret is kept."""

import json
import marshal
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from attempting import preload
from dbtpod import bake, settings
from dbtpod.dbt import parse_state, process, project
from dbtpod.errors import DbtPodError, DbtUnusable
from dbtpod.faststart import precompiled
from dbtpod.warehouse import warehouse

SKIPS = "PartialParsingSkipParsing"


class Clone:
    """A repository with a dbt project in it, and the volume of its runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "repository"
        self.volume = folder / "volume"
        (self.volume / "work").mkdir(parents=True)
        # HOME: nobody's own profile. The rest is what a shell has; no variable of dbt's or ours.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DBT", "DUCKDB", "PREFECT"))}
        self.environment = inherited | {
            "HOME": str(folder),
            "DBTPOD_VOLUME": str(self.volume),
            "DBT_PROJECT_DIR": str(self.folder),
        }
        self.said: list[str] = []

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text(text)

    def bake(self, **environment: str) -> None:
        bake.bake(self.environment | environment, self.said.append)

    def dbt(self, *args: str, only_reads: bool = False, **environment: str) -> list[dict[str, str]]:
        """Run a command as a pod with this environment does; what dbt said."""
        target_dir = self.volume / f"target-{len(list(self.volume.iterdir()))}"
        target_dir.mkdir()
        with pytest.MonkeyPatch.context() as pod:
            for name in os.environ.keys() - self.environment.keys():
                pod.delenv(name)
            for name, value in (self.environment | environment).items():
                pod.setenv(name, value)
            given = settings.from_environment()
            found = warehouse.project(given, warehouse.of(given).readable if only_reads else None)
            parse_state.give(found, args, target_dir)
            preload()
            with process.start(args, found, target_dir) as running:
                lines = list(running.lines())
                assert running.wait() == 0, "\n".join(lines)
        return [json.loads(line)["info"] for line in lines if line.startswith("{")]

    def baked(self) -> bytes:
        """All that lies in the image because of the bake."""
        return b"".join(file.read_bytes() for file in (self.folder / project.MADE).rglob("*") if file.is_file())


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    clone = Clone(tmp_path)
    clone.folder.mkdir()
    monkeypatch.chdir(clone.folder)
    return clone


def parsed(events: list[dict[str, str]]) -> list[str]:
    """What dbt says of its parsing; nothing where it parsed nothing."""
    names = {event["name"] for event in events}
    return [] if SKIPS in names else [event["msg"] for event in events if "arsing" in event["msg"]]


CLONED = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {+materialized: table}\n",
    "profiles.yml": """
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: shop.duckdb, threads: 2, settings: {memory_limit: 900MB}}
    prod: {type: duckdb, path: /srv/shop_prod.duckdb, schema: marts}
    cloud: {type: snowflake, account: a}
""",
    "models/orders.sql": "select 1 as id",
    "models/named.sql": """
-- depends_on: {{ ref('orders') }}
select * from {{ 'shop' if target.name == 'dev' else 'shop_prod' }}.{{ target.schema }}.orders
""",
    "models/settings.sql": """
select current_setting('memory_limit') as memory, current_setting('temp_directory') as spill,
    current_setting('max_temp_directory_size') as spills, current_setting('TimeZone') as zone
""",
}


def test_a_project_as_cloned_builds_in_the_volumes_file_and_parses_nothing(clone: Clone) -> None:
    clone.write(CLONED)
    limits = {"DBTPOD_MEMORY_LIMIT": "200MB", "DBTPOD_TEMP_LIMIT": "1GB"}
    limits["DBTPOD_TEMP_DIRECTORY"] = spill = str(clone.volume / "o'clock")

    clone.bake()
    built = clone.dbt("build", TZ="Pacific/Kiritimati", **limits)
    published = clone.volume / "published" / "current" / "shop.duckdb"
    published.parent.mkdir(parents=True)
    shutil.copy(clone.volume / "work" / "shop.duckdb", published)
    read = clone.dbt("show", "--select", "orders", only_reads=True, **limits)
    of_prod = clone.dbt("build", DBT_TARGET="prod", **limits)

    assert parsed(built) == parsed(read) == parsed(of_prod) == []
    assert "target `cloud` is left out" in clone.said[0]
    # The user's own memory limit is more than the pod's.
    assert rows(clone, "shop", "main.named") == rows(clone, "shop_prod", "marts.named") == [(1,)]
    assert rows(clone, "shop", "main.settings") == [("858.3 MiB", spill, "953.6 MiB", "UTC")]
    assert rows(clone, "shop_prod", "marts.settings") == [("190.7 MiB", spill, "953.6 MiB", "UTC")]
    [warned] = [event for event in built if event["level"] == "warn"]
    assert "sets memory_limit to 900MB, and this pod leaves 200MB" in warned["msg"]
    assert not [event for event in of_prod if event["level"] == "warn"]
    # Nothing of the user's is edited, and nothing is left but our own folder.
    assert {path.name for path in clone.folder.iterdir()} == {"dbt_project.yml", "profiles.yml", "models", ".dbtpod"}
    assert all((clone.folder / name).read_text() == text for name, text in CLONED.items())


@pytest.mark.soak
def test_a_bake_takes_what_the_one_before_has_compiled(clone: Clone, tmp_path: Path) -> None:
    clone.write({"dbt_project.yml": "name: shop\n", "models/orders.sql": "select 1 as id"})
    cache = tmp_path / "cache"
    cache.mkdir()
    made = []
    for _ in range(2):
        bake.bake(clone.environment, clone.said.append, cache)
        made.append(precompiled.path(clone.folder).read_bytes())
        precompiled.path(clone.folder).unlink()
    [kept] = cache.iterdir()
    assert precompiled.is_current(kept)
    first, second = (marshal.loads(content.partition(b"\n")[2]) for content in made)  # noqa: S302
    assert second["schemas"] == first["schemas"]
    assert second["templates"].keys() == first["templates"].keys()


def rows(clone: Clone, catalog: str, table: str) -> list[tuple[object, ...]]:
    with duckdb.connect(clone.volume / "work" / f"{catalog}.duckdb", read_only=True) as connection:
        return connection.sql(f"from {catalog}.{table}").fetchall()


SECRETS = {
    "dbt_project.yml": """
name: shop
profile: "{{ env_var('WHICH') }}"
on-run-start: "create or replace table hooked as select '{{ env_var('HOOK') }}' as by"
models:
  shop:
    +materialized: table
    +meta: {stage: "{{ env_var('STAGE') }}"}
""",
    "profiles.yml": """
shop:
  target: "{{ env_var('STAGE') }}"
  outputs:
    dev: &dev
      type: duckdb
      path: shop.duckdb
      threads: "{{ env_var('THREADS') | as_number }}"
      settings:
        http_proxy_username: "{{ env_var('DBT_ENV_SECRET_USER') }}"
        http_proxy_password: "{{ env_var('PROXY_PASSWORD') }}"
      secrets:
        - {type: http, name: api, bearer_token: "{{ env_var('API_TOKEN') }}"}
      attach:
        - {path: "{{ env_var('RAW_PATH') }}", alias: raw}
    prod: *dev
""",
    "models/orders.sql": """
select current_setting('http_proxy_username') as name, current_setting('http_proxy_password') as password
""",
    "models/raw_rows.sql": "select * from raw.main.rows",
}


def test_a_secret_without_a_default_breaks_no_bake_and_is_nowhere_in_it(clone: Clone) -> None:
    clone.write(SECRETS)
    with duckdb.connect(clone.volume / "raw.duckdb") as connection:
        connection.execute("create table rows as select 7 as id")
    secrets = {"DBT_ENV_SECRET_USER": "the-user-of-it", "PROXY_PASSWORD": "its-password", "API_TOKEN": "its-token"}
    pod = {"WHICH": "shop", "STAGE": "prod", "THREADS": "2", "HOOK": "it", "RAW_PATH": str(clone.volume / "raw.duckdb")}

    # They are set where it is built too, as a build secret would be.
    clone.bake(**secrets)
    built = clone.dbt("build", **secrets, **pod)

    baked = clone.baked()
    assert [value for value in secrets.values() if value.encode() in baked] == []
    assert parsed(built) == []
    assert [line for line in clone.said if "part of what was parsed" in line] == []
    assert rows(clone, "shop", "main.orders") == [("the-user-of-it", "its-password")]
    assert rows(clone, "shop", "main.raw_rows") == [(7,)]
    assert rows(clone, "shop", "main.hooked") == [("it",)]


@pytest.mark.soak
def test_a_variable_that_is_part_of_what_is_parsed_is_named_by_the_bake(clone: Clone) -> None:
    clone.write(CLONED)
    clone.write(
        {
            "profiles.yml": """
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: shop.duckdb, schema: "{{ env_var('SCHEMA') }}", threads: "{{ env_var('THREADS') | int }}"}
""",
            "models/orders.sql": "select {{ env_var('NUMBER') }} as id",
        }
    )

    clone.bake()

    named = {line.split(" is part of what was parsed")[0].split()[-1]: line for line in clone.said if "is part" in line}
    assert named.keys() == {"SCHEMA", "NUMBER"}
    assert "profile has changed" in named["SCHEMA"]
    assert "files changed" in named["NUMBER"]


@pytest.mark.soak
def test_a_project_without_partial_parsing_is_told_what_it_costs(clone: Clone) -> None:
    clone.write(CLONED)
    clone.write({"dbt_project.yml": CLONED["dbt_project.yml"] + "flags: {partial_parse: false}\n"})

    clone.bake()

    assert any("each pod parses again" in line and "not enabled" in line for line in clone.said)


def test_what_dbt_cannot_parse_is_its_own_words_with_the_target(clone: Clone) -> None:
    clone.write(CLONED)
    clone.write({"models/orders.sql": "select {{ ref('nowhere') }}"})

    with pytest.raises(DbtUnusable, match="nowhere") as raised:
        clone.bake()

    assert "for the target `dev`" in str(raised.value)


def _no_profile(clone: Clone) -> None:
    (clone.folder / "profiles.yml").unlink()


def _no_name(clone: Clone) -> None:
    (clone.folder / "dbt_project.yml").write_text("name: shop\n")


@pytest.mark.parametrize("change", [_no_profile, pytest.param(_no_name, marks=pytest.mark.soak)])
def test_a_project_without_a_profile_or_its_name_builds_all_the_same(
    clone: Clone, change: Callable[[Clone], None]
) -> None:
    clone.write(CLONED)
    change(clone)

    clone.bake()
    built = clone.dbt("build", "--select", "orders")

    assert parsed(built) == []


@pytest.mark.soak
def test_a_state_of_a_target_that_is_gone_goes_too(clone: Clone) -> None:
    clone.write(CLONED)
    gone = clone.folder / project.MADE / "reader" / "gone"
    gone.mkdir(parents=True)

    clone.bake()

    assert not gone.exists()
    assert (gone.parent / "prod" / parse_state.FILE).is_file()


def test_problems_are_said_before_dbt_starts(clone: Clone) -> None:
    clone.write(CLONED)
    clone.write({"profiles.yml": "shop: {target: dev, outputs: {dev: {type: duckdb, path: 'md:shop'}}}\n"})

    with pytest.raises(DbtPodError, match="MotherDuck"):
        clone.bake()


OF_A_SERVER = """
shop:
  target: dev
  outputs:
    dev:
      type: postgres
      host: db.example.com
      port: 5432
      user: dbt
      password: "{{ env_var('DBT_ENV_SECRET_PASSWORD') }}"
      dbname: shop
      schema: main
"""


def test_a_project_of_a_server_is_baked_without_its_password_and_its_pods_parse_nothing(clone: Clone) -> None:
    files = {name: CLONED[name] for name in ("dbt_project.yml", "models/orders.sql")}
    clone.write(files | {"profiles.yml": OF_A_SERVER, "values.yaml": "warehouse: {kind: remote}\n"})

    clone.bake()
    said = clone.dbt("parse", DBT_ENV_SECRET_PASSWORD="s3cret", DBTPOD_WAREHOUSE_KIND="remote")

    assert parsed(said) == []
    assert "duckdb_plugin" not in (clone.folder / ".dbtpod" / "writer" / "profiles.yml").read_text()


def test_an_image_whose_profile_does_not_fit_its_values_is_not_built(clone: Clone) -> None:
    files = {name: CLONED[name] for name in ("dbt_project.yml", "models/orders.sql")}
    clone.write(files | {"profiles.yml": OF_A_SERVER, "values.yaml": "warehouse: {kind: file}\n"})

    with pytest.raises(DbtPodError, match=r"target `dev` is of type postgres, and warehouse\.kind is file"):
        clone.bake()
