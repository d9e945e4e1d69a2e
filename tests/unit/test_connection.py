"""Before dbt starts: a command whose target is not the run's own file, or no file at all, is refused."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

import warehouse
from dbtpod.attempts import Attempts
from dbtpod.dbt import arguments, effective_profile, process, profile
from dbtpod.dbt.project import Project
from dbtpod.errors import SettingsError
from dbtpod.warehouse.working_copy import InPlaceFile, WorkingCopy

LOG = logging.getLogger("test")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "volume").mkdir()
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (tmp_path / "profiles.yml").write_text(
        """
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: shop.duckdb}
    prod: {type: duckdb, path: prod.duckdb}
other: {target: dev, outputs: {dev: {type: duckdb, path: other.duckdb}}}
"""
    )
    effective_profile.write(tmp_path, {})
    return warehouse.project(tmp_path / "volume", tmp_path)


def check(project: Project, args: str, publishes: bool = True) -> None:
    folder = project.folder / "volume"
    copy = WorkingCopy(warehouse.new(folder).publisher, "run", LOG)
    file = copy if publishes else InPlaceFile(warehouse.in_place(folder).publisher, "run", LOG)
    Attempts(project, folder / "1-build", args.split(), file, LOG).check_connection()


@pytest.mark.parametrize("args", ["build", "build --target prod", "build -tprod", "build --profile other"])
def test_every_target_of_the_users_profile_builds_in_the_runs_file(project: Project, args: str) -> None:
    check(project, args)


@pytest.mark.parametrize("args", ["build --profiles-dir .", "build --profiles-dir . --target prod"])
def test_the_users_own_profile_writes_elsewhere_and_is_refused(project: Project, args: str) -> None:
    with pytest.raises(SettingsError, match=r"writes to (shop|prod)\.duckdb, and not .*Leave --profiles-dir"):
        check(project, args)


@pytest.mark.parametrize("publishes", [True, False])
def test_a_database_server_is_refused_where_the_data_is_to_be_in_a_file(project: Project, publishes: bool) -> None:
    (project.profiles_dir / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: postgres}}}\n")

    with pytest.raises(
        SettingsError, match=r"is of type postgres, and warehouse\.kind is file.*Set warehouse\.kind to remote"
    ):
        check(project, "build", publishes=publishes)


def test_a_file_is_refused_where_the_data_is_to_be_in_a_database_server(project: Project) -> None:
    with pytest.raises(SettingsError, match=r"is of type duckdb and .*warehouse\.kind is remote.*kind to file"):
        check(replace(project, is_remote=True), "build")


def test_a_database_server_is_used_as_the_profile_has_it(project: Project) -> None:
    output = "{type: postgres, host: \"{{ env_var('NO_SUCH_HOST', 'db') }}\", port: 5433, password: s3cret}"
    (project.profiles_dir / "profiles.yml").write_text(f"shop: {{target: dev, outputs: {{dev: {output}}}}}\n")
    remote = replace(project, is_remote=True)

    check(remote, "build")

    found = profile.connection(arguments.parse(["build"]), process.environment(remote, remote.folder))
    assert str(found) == "postgres at db:5433, target dev"
