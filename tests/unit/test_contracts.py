"""Pairs that two tools must both read, and seams that code must not cross."""

import inspect
import re
import tomllib
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from dbtpod.registration import heartbeat
from dbtpod.registration.prefect_yaml import QUEUES
from rendering import CHART, ROOT, Render

PACKAGE = ROOT / "src" / "dbtpod"
DOCKERFILE = (ROOT / "image" / "Dockerfile").read_text()
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def image_environment(name: str) -> str:
    [value] = re.findall(rf"^\s+{name}=(\S+)", DOCKERFILE, re.MULTILINE)
    return str(value)


def flow_run_environment(render: Render) -> dict[str, Any]:
    [pool] = render(kind="ConfigMap", component="work-pool")
    template = yaml.safe_load(pool["data"]["base-job-template.json"])
    [container] = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value") for each in container["env"]}


def test_a_pod_has_the_path_that_the_parse_state_was_baked_with(render: Render) -> None:
    assert flow_run_environment(render)["DBTPOD_VOLUME"] == image_environment("DBTPOD_VOLUME")


def test_package_chart_and_image_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert f"ARG VERSION={version}" in DOCKERFILE


def test_pods_run_as_the_user_that_the_image_names() -> None:
    context = VALUES["podSecurityContext"]

    assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in DOCKERFILE


def test_the_pods_command_is_a_file_of_the_image(render: Render) -> None:
    [pool] = render(kind="ConfigMap", component="work-pool")
    command = yaml.safe_load(pool["data"]["base-job-template.json"])["variables"]["properties"]["command"]["default"]

    [plain] = render({"jobs": {"fastStart": False}}, kind="ConfigMap", component="work-pool")
    assert command == "python /opt/package/dbtpod/faststart/boot.py"
    assert '"default": "dbtpod execute"' in plain["data"]["base-job-template.json"]
    assert "--target /opt/package ." in DOCKERFILE
    assert (PACKAGE / "faststart" / "boot.py").is_file()


def test_deployments_go_to_one_pool_and_to_queues_that_registration_makes() -> None:
    # The chart replaces its name.
    assert len({each["work_pool"]["name"] for each in DEPLOYMENTS}) == 1
    assert {each["work_pool"]["work_queue_name"] for each in DEPLOYMENTS} <= set(QUEUES)


def test_the_selector_that_the_smoke_flow_names_exists() -> None:
    selectors = yaml.safe_load((ROOT / "dbt_project" / "selectors.yml").read_text())["selectors"]

    assert "--selector smoke" in (ROOT / "flows" / "flows.py").read_text()
    assert "smoke" in {selector["name"] for selector in selectors}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        (
            "dbt",
            {
                "inspector.py",
                "preload.py",
                "precompiled.py",
                "patched.py",
                "patches.py",
                "parse_process.py",
                "duckdb_plugin.py",
                "one_by_one.py",
            },
        ),
        (
            "duckdb",
            {"comparison.py", "copying.py", "database.py", "ducklake.py", "extensions.py", "files.py", "postgres.py"}
            | {"recorded.py", "relations.py", "store.py", "tables.py", "update.py"},
        ),
        ("sqlglot", {"columns.py"}),
        ("prefect._internal", {"engine.py"}),
        ("prefect.runner", {"supervise.py", "supervisor.py", "forked.py"}),
        ("kubernetes_asyncio", set()),
    ],
)
def test_a_dependency_is_imported_only_at_its_seam(module: str, allowed: set[str]) -> None:
    importing = re.compile(rf"^\s*(?:from|import) {re.escape(module)}(?:[. ]|$)", re.MULTILINE)

    assert {path.name for path in PACKAGE.rglob("*.py") if importing.search(path.read_text())} == allowed


def test_no_module_of_ours_looks_like_a_plugin_of_dbt() -> None:
    importable = [*ROOT.glob("dbt_*.py"), *(ROOT / "flows").rglob("dbt_*.py")]

    assert importable == []
    assert not (ROOT / "dbt_project" / "__init__.py").exists()


def test_the_map_of_the_package_names_every_module() -> None:
    maps = {path.parent: path.read_text() for path in PACKAGE.rglob("__init__.py")}

    modules = [path for path in PACKAGE.rglob("*.py") if path.parent in maps and path.stem != "__init__"]
    assert len(modules) > 50
    assert [path.stem for path in modules if path.stem not in maps[path.parent]] == []
    rooms = [room for room in maps if room != PACKAGE]
    assert [room.name for room in rooms if not re.search(rf"^ *{room.name} ", maps[room.parent], re.MULTILINE)] == []


def test_the_watchdog_imports_no_large_library_so_that_it_stays_small() -> None:
    text = "\n".join(path.read_text() for path in (PACKAGE / "watchdog").glob("*.py"))

    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", text, re.MULTILINE))
    assert "httpx" in imported
    assert not imported & {"prefect", "prefect_kubernetes", "kubernetes_asyncio", "yaml", "pydantic"}


def variables(model: type[BaseSettings]) -> set[str]:
    """The environment variables that Prefect's settings are read from."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseSettings):
            names |= variables(field.annotation)
        aliases = getattr(field.validation_alias, "choices", [])
        names |= {f"{model.model_config['env_prefix']}{name}".upper(), *(str(alias).upper() for alias in aliases)}
    return names


def logging_variables() -> set[str]:
    """The environment variables that replace a line of Prefect's own configuration of its logs."""
    from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH
    from prefect.utilities.collections import dict_to_flatdict

    lines = dict_to_flatdict(yaml.safe_load(DEFAULT_LOGGING_SETTINGS_PATH.read_text()))
    return {f"PREFECT_LOGGING_{'_'.join(map(str, line))}".upper() for line in lines}


def test_every_setting_that_the_chart_gives_to_prefect_is_one_of_the_installed_prefect() -> None:
    from prefect.settings import Settings
    from prefect_kubernetes.settings import KubernetesSettings

    known = variables(Settings) | variables(KubernetesSettings) | logging_variables()
    texts = [path.read_text() for path in [*(CHART / "templates").iterdir(), ROOT / "Makefile"] if path.is_file()]
    given = set(re.findall(r"\bPREFECT_(?!_)[A-Z_]+\b", "\n".join([*texts, DOCKERFILE])))

    assert len(given) > 20
    assert sorted(given - known) == []


def test_no_state_of_prefect_is_taken_for_a_pod_that_vanished() -> None:
    import prefect.states

    constructors = {name for name, _ in inspect.getmembers(prefect.states, inspect.isfunction) if name[0].isupper()}

    assert {"Running", "Retrying", "AwaitingRetry"} <= constructors
    assert constructors - {"Running", "Retrying"} <= set(heartbeat.QUIET_STATES)


def test_nothing_of_one_machine_is_in_the_repository() -> None:
    lock = (ROOT / "uv.lock").read_text()

    assert set(re.findall(r"https://([^/\"]+)", lock)) == {"pypi.org", "files.pythonhosted.org"}
    assert "/root/" not in lock


def test_the_laptops_uv_is_the_images() -> None:
    [image] = re.findall(r"astral-sh/uv:([\d.]+)", DOCKERFILE)

    assert f'"uv=={image}"' in (ROOT / "Makefile").read_text()


def test_the_working_folder_of_the_image_has_no_project_that_prefect_would_run_with_uv() -> None:
    runtime = DOCKERFILE[DOCKERFILE.index("AS runtime") :]

    assert "pyproject.toml" not in runtime
    assert re.findall(r"^WORKDIR (\S+)", runtime, re.MULTILINE) == ["/opt/dbtpod"]
