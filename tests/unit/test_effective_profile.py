"""Any profile as cloned becomes one that runs can use, with all else as it was written; or an error says why not."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbtpod.dbt import effective_profile, project
from dbtpod.dbt.effective_profile import EffectiveProfile
from dbtpod.errors import SettingsError

WRITES, READS = "{{ env_var('DUCKDB_PATH') }}", "{{ env_var('DBTPOD_READABLE_PATH') }}"
PLUGIN = {"module": "dbtpod.dbt.duckdb_plugin", "alias": "dbtpod"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / ".dbt").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home)}


def one(output: str) -> str:
    return f"shop:\n  target: dev\n  outputs:\n    dev: {output}\n"


def made(folder: Path, environment: dict[str, str], text: str) -> EffectiveProfile:
    (folder / "profiles.yml").write_text(text)
    return effective_profile.write(folder, environment)


def written(folder: Path, mode: str, target: str = "dev", profile: str = "shop") -> dict[str, Any]:
    document = yaml.safe_load((folder / project.MADE / mode / "profiles.yml").read_text())
    return dict(document[profile]["outputs"][target])


def problem(folder: Path, environment: dict[str, str], text: str | None = None) -> str:
    if text is not None:
        (folder / "profiles.yml").write_text(text)
    with pytest.raises(SettingsError) as raised:
        effective_profile.make(folder, environment)
    return str(raised.value)


@pytest.mark.parametrize(
    ("path", "catalog"),
    [
        ("path: shop.duckdb", "shop"),
        ("path: ./data/shop.dev.db", "shop"),
        ("path: /var/lib/My-Shop.duckdb", "My-Shop"),
        ("path: ~/.shop.duckdb", "shop"),
        ("path: ':memory:'", "warehouse"),
        ("path: ", "warehouse"),
        ("threads: 1", "warehouse"),
        ("path: ':memory:', database: memory", "memory"),
        ("path: shop.duckdb, database: shop", "shop"),
        ("path: \"{{ env_var('FILE', 'orders.duckdb') }}\"", "orders"),
        ("path: \"{{ env_var('FOLDER') }}/shop.duckdb\"", "shop"),
        ("path: \"{{ env_var('FOLDER', '.') ~ '/' ~ 'sho' ~ 'p.duckdb' }}\"", "shop"),
        ("path: \"{{ env_var('FILE') }}\"", "warehouse"),
        ("path: \"{{ env_var('DUCKDB_PATH') }}\"", "warehouse"),
    ],
)
def test_any_path_becomes_the_volumes_and_the_file_keeps_its_name(
    folder: Path, environment: dict[str, str], path: str, catalog: str
) -> None:
    found = made(folder, environment, one(f"{{type: duckdb, {path}}}"))

    assert found.facts.targets["dev"].catalog == catalog
    assert (written(folder, "writer")["path"], written(folder, "reader")["path"]) == (WRITES, READS)
    assert written(folder, "reader")["config_options"] == {"access_mode": "READ_ONLY"}


def test_what_a_variable_of_the_bake_says_counts(folder: Path, environment: dict[str, str]) -> None:
    text = one("{type: duckdb, path: \"{{ env_var('FILE', 'a.duckdb') }}\"}")

    found = made(folder, environment | {"FILE": "/data/b.duckdb"}, text)

    assert found.facts.targets["dev"].catalog == "b"


EVERYTHING = """
defaults: &defaults
  type: duckdb
  threads: "{{ env_var('THREADS', '4') | as_number }}"
  schema: "{{ env_var('USER', 'ci') }}_shop"
  extensions: &extensions
    - httpfs
    - name: h3
      repo: community
shop:
  target: "{{ env_var('STAGE', 'dev') }}"
  outputs:
    dev:
      <<: *defaults
      path: shop.duckdb
      settings:
        memory_limit: 2GB
        ordered: yes
      config_options: {allow_unsigned_extensions: "true", access_mode: automatic}
      attach:
        - {path: raw.duckdb, alias: raw, read_only: true}
      secrets:
        - type: s3
          secret: "{{ env_var('DBT_ENV_SECRET_S3') }}"
      plugins:
        - module: excel
        - {module: my_plugin, alias: mine, config: {days: 007, note: "don't"}}
      retries: {connect_attempts: 3}
      module_paths: [plugins]
    prod:
      <<: *defaults
      path: /srv/shop.duckdb
      schema: "prod"
config:
  send_anonymous_usage_stats: false
"""


def test_all_but_the_path_the_mode_and_the_plugin_is_the_users_own(folder: Path, environment: dict[str, str]) -> None:
    found = made(folder, environment, EVERYTHING)
    own = yaml.safe_load(EVERYTHING)

    for mode, path, options in (("writer", WRITES, {}), ("reader", READS, {"access_mode": "READ_ONLY"})):
        document = yaml.safe_load((folder / project.MADE / mode / "profiles.yml").read_text())
        assert document["config"] == own["config"]
        assert document["shop"]["target"] == own["shop"]["target"]
        for target in ("dev", "prod"):
            before = dict(own["shop"]["outputs"][target])
            after = document["shop"]["outputs"][target]
            kept = {key: value for key, value in before.pop("config_options", {}).items() if key != "access_mode"}
            assert after.pop("plugins") == [PLUGIN, *before.pop("plugins", [])]
            assert after.pop("config_options", {}) == kept | options
            assert after == before | {"path": path}
    assert {name: target.catalog for name, target in found.facts.targets.items()} == {"dev": "shop", "prod": "shop"}


def test_values_of_the_connection_that_name_a_variable_are_left_to_the_plugin(
    folder: Path, environment: dict[str, str]
) -> None:
    output = """
      type: duckdb
      schema: "{{ env_var('SCHEMA') }}"
      settings: {s3_region: eu, s3_secret_access_key: "{{ env_var('KEY') }}", own: "{{ env_var('DBT_ENV_SECRET_A') }}"}
      attach: [{path: "postgres:password={{ env_var('PASSWORD') }}", type: postgres, alias: crm}]
      plugins: [{module: sqlalchemy, alias: sql, config: {connection_url: "{{ env_var('URL') }}"}}]
      filesystems: [{fs: s3, key: "{{ env_var('KEY') }}"}]
      secrets: [{type: s3, secret: "{{ env_var('KEY') }}"}]
      config_options: {custom_user_agent: "{% raw %}{{ env_var('KEY') }}{% endraw %}"}
"""

    made(folder, environment, one(output))

    after = written(folder, "writer")
    late = "{{% raw %}}{{# dbtpod #}}{}{{% endraw %}}"
    assert after["settings"] == {
        "s3_region": "eu",
        "s3_secret_access_key": late.format("{{ env_var('KEY') }}"),
        # dbt makes None of a text with the name of a secret in it.
        "own": late.format("{{ env_var('DBT_ENV_(SECRET)_A') }}"),
    }
    assert after["attach"][0]["path"] == late.format("postgres:password={{ env_var('PASSWORD') }}")
    assert after["attach"][0]["alias"] == "crm"
    assert after["plugins"][1]["config"] == {"connection_url": late.format("{{ env_var('URL') }}")}
    assert after["filesystems"] == [{"fs": "s3", "key": late.format("{{ env_var('KEY') }}")}]
    # dbt compares no secrets; models are parsed with the schema; a user's own raw text is not a variable.
    assert after["secrets"] == [{"type": "s3", "secret": "{{ env_var('KEY') }}"}]
    assert after["schema"] == "{{ env_var('SCHEMA') }}"
    assert after["config_options"] == {"custom_user_agent": "{% raw %}{{ env_var('KEY') }}{% endraw %}"}


def test_a_read_only_target_of_the_user_can_be_built_by_a_run_that_writes(
    folder: Path, environment: dict[str, str]
) -> None:
    made(folder, environment, one("{type: duckdb, path: shop.duckdb, config_options: {ACCESS_MODE: read_only}}"))

    assert written(folder, "writer")["config_options"] == {}
    assert written(folder, "reader")["config_options"] == {"access_mode": "READ_ONLY"}


def test_targets_of_another_adapter_are_left_out_with_a_message(folder: Path, environment: dict[str, str]) -> None:
    found = made(
        folder,
        environment,
        """
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: shop.duckdb}
    warehouse: {type: snowflake, account: a}
    cloud: {type: duckdb, path: "md:shop?motherduck_token=s3cret"}
    broken: nothing
""",
    )

    assert list(found.facts.targets) == ["dev"]
    notes = "\n".join(found.notes)
    assert "target `warehouse` is left out: it is of type snowflake" in notes
    assert "target `cloud` is left out: it has its data in MotherDuck" in notes
    assert "target `broken` is left out: it has no `type`" in notes
    assert "s3cret" not in notes
    with pytest.raises(KeyError):
        written(folder, "writer", "warehouse")


def test_a_default_target_of_an_adapter_that_is_installed_is_kept_as_it_is(
    folder: Path, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = tmp_path / "site" / "dbt" / "adapters" / "postgres"
    adapter.mkdir(parents=True)
    (adapter / "__init__.py").touch()
    import dbt.adapters

    monkeypatch.setattr(dbt.adapters, "__path__", [*dbt.adapters.__path__, str(adapter.parent)])
    output = (
        "{type: postgres, host: db, password: \"{{ env_var('PASSWORD') }}\", settings: {a: \"{{ env_var('A') }}\"}}"
    )
    text = one(output).replace("outputs:", "outputs:\n    local: {type: duckdb, path: shop.duckdb}")

    found = made(folder, environment, text)

    assert written(folder, "writer") == written(folder, "reader") == yaml.safe_load(text)["shop"]["outputs"]["dev"]
    assert written(folder, "writer", "local")["path"] == WRITES
    assert "used as it is, in an environment with warehouse.kind remote" in "\n".join(found.notes)


@pytest.mark.parametrize(
    ("kind", "output", "says"),
    [
        ("file", "{type: postgres, host: db}", "is of type postgres, and warehouse.kind is file: .*kind to remote"),
        ("remote", "{type: duckdb, path: shop.duckdb}", "is of type duckdb and .*kind is remote: .*kind to file"),
    ],
)
def test_a_default_target_that_does_not_fit_the_kind_is_a_problem_with_its_place(
    folder: Path, environment: dict[str, str], kind: str, output: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=rf"profiles\.yml: profile `shop`, target `dev` {says}"):
        made(folder, environment | {"DBTPOD_WAREHOUSE_KIND": kind}, one(output))


def test_another_target_may_be_for_an_environment_of_another_kind(folder: Path, environment: dict[str, str]) -> None:
    other = "outputs:\n    prod: {type: postgres, host: db}"
    text = one("{type: duckdb, path: shop.duckdb}").replace("outputs:", other)

    found = made(folder, environment | {"DBTPOD_WAREHOUSE_KIND": "file"}, text)

    assert {name: target.adapter for name, target in found.facts.targets.items()} == {
        "prod": "postgres",
        "dev": "duckdb",
    }


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("{type: duckdb, path: 'md:shop'}", "in MotherDuck"),
        ("{type: duckdb, path: 'motherduck:shop?token=s3cret'}", "in MotherDuck"),
        ("{type: duckdb, path: 's3://bucket/shop.duckdb'}", "`path: s3:…`"),
        ("{type: duckdb, path: 'ducklake:meta.ducklake'}", "is a DuckLake by its `path`"),
        ("{type: duckdb, path: \"{{ env_var('FILE', 'md:') }}\"}", "in MotherDuck"),
        ("{type: duckdb, is_ducklake: true, path: shop.duckdb}", "DuckLake"),
        ("{type: duckdb, remote: {host: h, port: 1, user: u}}", "a server (`remote:`)"),
        ("{type: duckdb, path: shop.duckdb, database: lake, attach: [{path: l.db, alias: lake}]}", "database `lake`"),
        ("{type: duckdb, path: '{{ target.name }}.duckdb'}", "cannot be rendered"),
        ("{type: duckdb, path: '{{ env_var('}", "cannot be rendered"),
        ("{type: duckdb, path: shop.duckdb, plugins: {module: excel}}", "`plugins`"),
        ("{type: duckdb, path: shop.duckdb, attach: [raw.duckdb]}", "`attach`"),
        ("{type: duckdb, path: shop.duckdb, config_options: [a]}", "`config_options`"),
        ("{path: shop.duckdb}", "no `type`"),
        ("shop.duckdb", "no `type`"),
        ("{type: bigquery, project: p}", "install dbt-bigquery"),
    ],
)
def test_a_default_target_that_cannot_be_used_is_named_with_the_fix(
    folder: Path, environment: dict[str, str], output: str, says: str
) -> None:
    found = problem(folder, environment, one(output))

    assert found.startswith(f"{folder / 'profiles.yml'}: profile `shop`, target `dev` ")
    assert says in found
    assert "s3cret" not in found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("{ not yaml", "is not valid YAML"),
        ("- shop", "has no keys"),
        ("other: {outputs: {dev: {type: duckdb}}}", "there is no profile `shop` in it"),
        ("shop: {target: dev}", "profile `shop` has no `outputs`"),
        (
            "shop: {target: dev, outputs: {prod: {type: duckdb}}}",
            "no target `dev`, which is its default; it has `prod`",
        ),
        ("shop: {outputs: {prod: {type: duckdb}, ci: {type: duckdb}}}", "no target `default`"),
        ("shop: {target: '{{ oops }}', outputs: {dev: {type: duckdb}}}", "cannot be rendered"),
    ],
)
def test_a_file_or_a_profile_that_cannot_be_used_is_named(
    folder: Path, environment: dict[str, str], text: str, says: str
) -> None:
    found = problem(folder, environment, text)

    assert str(folder / "profiles.yml") in found
    assert says in found


def test_problems_are_those_of_make(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    (folder / "profiles.yml").write_text(one("{type: duckdb, path: 'md:'}"))

    assert effective_profile.problems(folder) == [problem(folder, dict(os.environ))]
    (folder / "profiles.yml").write_text(one("{type: duckdb}"))
    assert effective_profile.problems(folder) == []
    assert not (folder / project.MADE).exists()


def test_a_profile_of_the_persons_own_is_used_without_the_others_there(
    folder: Path, environment: dict[str, str], home: Path
) -> None:
    (home / ".dbt" / "profiles.yml").write_text(one("{type: duckdb, path: mine.duckdb}") + "work: {outputs: {a: {}}}\n")

    found = effective_profile.write(folder, environment)

    assert found.facts.targets["dev"].catalog == "mine"
    assert "work" not in found.writer
    assert str(home / ".dbt" / "profiles.yml") in found.notes[0]


@pytest.mark.parametrize("at_home", ["", "other: {outputs: {dev: {type: duckdb}}}"])
def test_where_there_is_no_profile_one_is_made(
    folder: Path, environment: dict[str, str], home: Path, at_home: str
) -> None:
    if at_home:
        (home / ".dbt" / "profiles.yml").write_text(at_home)
    (folder / "ci").mkdir()
    (folder / "ci" / "profiles.yml").touch()

    found = effective_profile.write(folder, environment)

    assert written(folder, "writer") == {
        "type": "duckdb",
        "path": WRITES,
        "threads": 4,
        "plugins": [PLUGIN],
    }
    assert "There is no profile `shop`" in found.notes[0]
    assert "If it is ci/profiles.yml, set DBT_PROFILES_DIR" in found.notes[0]


@pytest.mark.parametrize("given", ["conf", "ABSOLUTE"])
def test_the_folder_of_dbts_own_variable_wins(folder: Path, environment: dict[str, str], given: str) -> None:
    (folder / "profiles.yml").write_text(one("{type: duckdb, path: here.duckdb}"))
    (folder / "conf").mkdir()
    (folder / "conf" / "profiles.yml").write_text(one("{type: duckdb, path: there.duckdb}"))
    place = given.replace("ABSOLUTE", str(folder / "conf"))

    found = effective_profile.make(folder, environment | {"DBT_PROFILES_DIR": place})

    assert found.facts.targets["dev"].catalog == "there"
    assert "DBT_PROFILES_DIR is 'nowhere'" in problem(folder, environment | {"DBT_PROFILES_DIR": "nowhere"})


def test_a_profile_beside_the_subfolder_of_the_project_is_found_as_dbt_finds_it(
    folder: Path, environment: dict[str, str]
) -> None:
    (folder / "transform").mkdir()
    (folder / "dbt_project.yml").rename(folder / "transform" / "dbt_project.yml")
    (folder / "profiles.yml").write_text(one("{type: duckdb, path: shop.duckdb}"))

    assert effective_profile.make(folder / "transform", environment).facts.targets["dev"].catalog == "shop"


TWO = """
shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}
other: {target: dev, outputs: {dev: {type: duckdb, path: other.duckdb}}}
"""


@pytest.mark.parametrize(
    ("name", "environment_", "profile"),
    [
        ("shop", {}, "shop"),
        ("shop", {"DBT_PROFILE": "other"}, "other"),
        ("\"{{ env_var('WHICH', 'shop') }}\"", {}, "shop"),
        ("\"{{ env_var('WHICH', 'shop') }}\"", {"WHICH": "other"}, "other"),
        ("\"{{ env_var('WHICH') }}\"", {"WHICH": "other"}, "other"),
    ],
)
def test_the_profiles_name_may_be_jinja(
    folder: Path, environment: dict[str, str], name: str, environment_: dict[str, str], profile: str
) -> None:
    (folder / "dbt_project.yml").write_text(f"name: shop\nprofile: {name}\n")

    found = made(folder, environment | environment_, TWO)

    assert found.facts.profile == profile
    assert found.facts.targets["dev"].catalog == profile
    # A command of a pod may name the other one.
    assert (
        written(folder, "writer", profile="shop")["path"]
        == written(folder, "writer", profile="other")["path"]
        == WRITES
    )


def test_a_name_that_only_the_pod_has_is_an_error_unless_there_is_one_profile(
    folder: Path, environment: dict[str, str]
) -> None:
    (folder / "dbt_project.yml").write_text("name: shop\nprofile: \"{{ env_var('WHICH') }}\"\n")

    assert "WHICH has no value here" in problem(folder, environment, TWO)
    assert made(folder, environment, one("{type: duckdb}")).facts.profile == "shop"


@pytest.mark.parametrize("text", ["", TWO, one("{type: duckdb}")])
def test_a_project_that_names_no_profile_gets_one(folder: Path, environment: dict[str, str], text: str) -> None:
    (folder / "dbt_project.yml").write_text("name: shop\n")
    if text:
        (folder / "profiles.yml").write_text(text)

    found = effective_profile.write(folder, environment)

    assert (found.facts.profile, found.facts.is_named) == ("shop", False)


def test_a_target_that_only_the_pod_knows_leaves_all_of_them(folder: Path, environment: dict[str, str]) -> None:
    text = """
shop:
  target: "{{ env_var('STAGE') }}"
  outputs:
    dev: {type: duckdb, path: shop.duckdb}
    prod: {type: duckdb, path: shop_prod.duckdb}
"""

    found = made(folder, environment, text)

    assert list(found.facts.targets) == ["dev", "prod"]
    assert "STAGE has no value here" in "\n".join(found.notes)
    assert made(folder, environment | {"STAGE": "prod"}, text).facts.default({"STAGE": "prod"}) == "prod"


def test_it_is_made_again_when_the_users_files_change_and_only_then(folder: Path, environment: dict[str, str]) -> None:
    assert effective_profile.refresh(folder, environment)
    assert effective_profile.refresh(folder, environment) is None

    (folder / "profiles.yml").write_text(one("{type: duckdb, path: a.duckdb}"))
    assert effective_profile.refresh(folder, environment)
    assert effective_profile.refresh(folder, environment) is None

    (folder / "profiles.yml").write_text(one("{type: duckdb, path: b.duckdb}"))
    again = effective_profile.refresh(folder, environment)
    assert again and again.facts.targets["dev"].catalog == "b"

    (folder / "conf").mkdir()
    (folder / "conf" / "profiles.yml").write_text(one("{type: duckdb, path: c.duckdb}"))
    again = effective_profile.refresh(folder, environment | {"DBT_PROFILES_DIR": "conf"})
    assert again and again.facts.targets["dev"].catalog == "c"
    # The pod does not have the variable of the build.
    assert effective_profile.refresh(folder, environment) is None


def test_a_pod_without_the_persons_home_keeps_what_was_made_of_it(
    folder: Path, environment: dict[str, str], home: Path
) -> None:
    (home / ".dbt" / "profiles.yml").write_text(one("{type: duckdb, path: mine.duckdb}"))
    effective_profile.write(folder, environment)

    (home / ".dbt" / "profiles.yml").unlink()

    assert effective_profile.refresh(folder, {}) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_image_that_was_not_baked_says_what_to_run(folder: Path, environment: dict[str, str]) -> None:
    folder.chmod(0o555)
    try:
        with pytest.raises(SettingsError, match="Run `dbtpod bake`"):
            effective_profile.refresh(folder, environment)
    finally:
        folder.chmod(0o755)


def test_git_sees_nothing_of_it(folder: Path, environment: dict[str, str]) -> None:
    effective_profile.write(folder, environment)

    assert (folder / project.MADE / ".gitignore").read_text() == "*\n"
