"""What a profile says of a DuckLake, and what a run's own profile makes of it; neither dbt nor a server is asked."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dbtpod.dbt import effective_profile, lake
from dbtpod.errors import SettingsError

TARGET: dict[str, Any] = {
    "type": "duckdb",
    "database": "shop",
    "threads": 8,
    "attach": [
        {"alias": "other", "path": "other.duckdb"},
        {
            "alias": "shop",
            "path": "ducklake:postgres:host=db port=5433 user=dbt password={{ env_var('DBT_ENV_SECRET_PASSWORD') }}",
            "options": {"data_path": "s3://bucket/{{ env_var('STAGE') }}", "metadata_schema": "shop_lake"},
        },
    ],
    "secrets": [{"type": "s3", "key_id": "{{ env_var('KEY') }}", "secret": "it's", "use_ssl": False}],
}
GIVEN = {"DBT_ENV_SECRET_PASSWORD": "pass", "STAGE": "prod", "KEY": "me"}


def write(folder: Path, target: dict[str, Any], given: dict[str, str] | None = None) -> None:
    (folder / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (folder / "profiles.yml").write_text(
        yaml.safe_dump({"shop": {"target": "prod", "outputs": {"prod": target}}}, sort_keys=False)
    )
    effective_profile.write(folder, GIVEN if given is None else given)


def changed(**attached: Any) -> dict[str, Any]:
    """Return the target with other keys of the attached DuckLake."""
    return {**TARGET, "attach": [TARGET["attach"][0], {**TARGET["attach"][1], **attached}]}


def test_a_run_is_given_its_catalog_and_not_by_the_profile(tmp_path: Path) -> None:
    options = {**TARGET["attach"][1]["options"], "automatic_migration": True, "SNAPSHOT_VERSION": 3}
    write(tmp_path, changed(options=options, read_only=True))

    for kind, reads in (("writer", False), ("reader", True)):
        made = yaml.safe_load((tmp_path / ".dbtpod" / kind / "profiles.yml").read_text())["shop"]["outputs"]["prod"]
        assert (made["path"], made["database"], made["threads"]) == (":memory:", "shop", 1)
        assert made["plugins"][0]["config"] == {"lake": "shop", "name": "shop_lake", "reads": reads}
        assert made["attach"][0] == TARGET["attach"][0]
        assert list(made["attach"][1]["options"]) == ["data_path"]
        assert "read_only" not in made["attach"][1]


def test_where_it_is_comes_from_the_environment_of_the_pod(tmp_path: Path) -> None:
    write(tmp_path, TARGET, {})

    found = lake.find(tmp_path, GIVEN)

    assert str(found) == "DuckLake `shop_lake` in PostgreSQL at db:5433, files in s3://bucket/prod/"
    assert found.address.endswith("password=pass")
    assert "=pass" not in repr(found)
    assert (
        list(found.secrets_sql)[1] == "CREATE SECRET secret_0 (type s3, key_id 'me', secret 'it''s', use_ssl 'False')"
    )


def test_variables_without_a_value_are_named_together(tmp_path: Path) -> None:
    write(tmp_path, TARGET)

    with pytest.raises(SettingsError, match="reads DBT_ENV_SECRET_PASSWORD, KEY, STAGE, and that has no value here"):
        lake.find(tmp_path, {})


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (changed(path="ducklake:shop.ducklake"), "whose catalog is not in PostgreSQL, as its readers need it"),
        (changed(path="ducklake:sqlite:shop.db"), "whose catalog is not in PostgreSQL"),
        (changed(options={}), "without the option `data_path`"),
        (changed(options={"data_path": "/data", "metadata_schema": "Shop-1"}), "with the name 'Shop-1': give it"),
        ({**TARGET, "database": "other"}, "writes its models to the attached database `other`"),
        ({"type": "duckdb", "path": "ducklake:postgres:host=db"}, "is a DuckLake by its `path`"),
    ],
)
def test_a_ducklake_that_runs_cannot_use_is_named_with_the_fix(
    tmp_path: Path, target: dict[str, Any], says: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        write(tmp_path, target)

    assert says in str(raised.value)
    assert "profile `shop`, target `prod`" in str(raised.value)


@pytest.mark.parametrize("name", ["Shop", "a b", "x" * 51, "1"])
def test_a_name_that_only_a_pod_knows_is_checked_there(tmp_path: Path, name: str) -> None:
    write(tmp_path, changed(options={"data_path": "/data", "metadata_schema": "{{ env_var('NAME') }}"}), {})

    with pytest.raises(SettingsError, match="`metadata_schema` is"):
        lake.find(tmp_path, GIVEN | {"NAME": name})


def test_a_place_of_files_that_depends_on_where_dbt_runs_is_refused(tmp_path: Path) -> None:
    write(tmp_path, changed(options={"data_path": "files/"}))

    with pytest.raises(SettingsError, match=r"`data_path` is 'files/': it must be absolute"):
        lake.find(tmp_path, GIVEN)


@pytest.mark.parametrize(
    ("address", "bare", "password"),
    [
        ("host=db user=dbt", "host=db user=dbt", ""),
        ("password=x host=db", "host=db", "x"),
        (r"host=db password='it\'s ours' user=a", "host=db user=a", "it's ours"),
        (r"host=db password=a\ b user=a", "host=db user=a", "a b"),
        ("host=db passfile=/run/pass sslpassword=x", "host=db passfile=/run/pass sslpassword=x", ""),
        (
            "postgresql://dbt:p%40ss@db:5432/lake?sslmode=require",
            "postgresql://dbt@db:5432/lake?sslmode=require",
            "p@ss",
        ),
        ("postgresql://db/lake", "postgresql://db/lake", ""),
        ("ducklake:postgres:password=x host=db", "ducklake:postgres:host=db", "x"),
    ],
)
def test_the_password_is_apart_from_the_address(address: str, bare: str, password: str) -> None:
    assert lake.split(address) == (bare, password)
