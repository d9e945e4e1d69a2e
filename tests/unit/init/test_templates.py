"""What `dbtpod init` writes is what its readers take: Prefect, the chart, BuildKit and GitHub."""

import inspect
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from docker.utils.build import exclude_paths

from dbtpod import __version__
from dbtpod.fresher import build_if_fresher
from dbtpod.init import record, repository, templates
from dbtpod.registration import deployments, entrypoints
from dbtpod.registration.entrypoints import Flow
from own_projects import AT_THE_ROOT, FRESH, REPOSITORIES, Files, project, write
from rendering import ROOT, helm_template

KUBERNETES_NAME = re.compile(r"[a-z]([-a-z0-9]{0,51}[a-z0-9])?")
SEVERAL = {"transform/dbt_project.yml": project(), "it's other/dbt_project.yml": project("other")}


@pytest.fixture(params=REPOSITORIES)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Each kind of repository, after `dbtpod init`."""
    return init(tmp_path, REPOSITORIES[request.param])


def init(folder: Path, files: Files, **environment: str) -> Path:
    write(folder, files)
    _, left = repository.init(folder, environment)
    assert left == []
    return folder


def values(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((folder / "values.yaml").read_text())
    return content


def workflow(folder: Path, file: str = "dbtpod.yml") -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((folder / ".github" / "workflows" / file).read_text())
    return content


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    found = yaml.safe_load((folder / "prefect.yaml").read_text())["deployments"]
    return {entry["name"]: entry for entry in found}


def instructions(folder: Path) -> list[str]:
    """The lines of the Dockerfile that are no comments; blank ones count."""
    return [line for line in (folder / "Dockerfile").read_text().splitlines() if not line.startswith("#")]


def in_image(folder: Path) -> set[str]:
    """The files that a build is given, by Docker's own Python library."""
    lines = (folder / "Dockerfile.dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    return {path for path in exclude_paths(str(folder), patterns) if (folder / path).is_file()}


def test_the_wheel_has_the_templates(tmp_path: Path) -> None:
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")

    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT)], check=True)

    [wheel] = tmp_path.glob("*.whl")
    packed = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "/init/files/" in name}
    assert packed - {"files"} == {path.name for path in (ROOT / "src/dbtpod/init/files").iterdir()}


# ---- all of them


def test_names_are_names_for_kubernetes_helm_and_a_registry(written: Path) -> None:
    names = {values(written)["image"]["repository"], values(written)["workPool"]["name"]}
    names |= {entry["work_pool"]["name"] for entry in entries(written).values()}

    [name] = names
    assert KUBERNETES_NAME.fullmatch(name), name
    assert all(KUBERNETES_NAME.fullmatch(deployment) for deployment in entries(written))


def test_the_chart_takes_the_values(written: Path) -> None:
    done = helm_template(values(written), "--set-string", "image.tag=1a2b3c4")

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_prefect_yaml_is_without_errors_on_a_machine_that_dbt_never_ran_on(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "no-home"))

    file = deployments.read(written / "prefect.yaml", environment={})

    assert file.pool == values(written)["workPool"]["name"]
    assert [entry.name for entry in file.deployments] == list(entries(written))


def test_the_dockerfile_has_at_most_six_lines_and_names_the_version(written: Path) -> None:
    lines = instructions(written)

    assert len(lines) <= 6
    assert lines[0] == f"ARG DBTPOD=dbtpod:{__version__}"
    assert lines[-1] == "COPY --from=project /opt/dbtpod /opt/dbtpod"
    assert {line.split()[0] for line in lines} == {"ARG", "FROM", "COPY", "RUN"}


def test_no_file_has_a_path_of_this_machine_or_a_blank_at_a_lines_end(written: Path) -> None:
    for file in (path for path in written.rglob("*") if path.is_file() and path.suffix not in (".py", ".sql", ".csv")):
        text = file.read_text()
        assert str(written) not in text and str(Path.home()) not in text, file
        assert not re.search(r"[ \t]$|\n\n\n|\t", text, re.MULTILINE), file


def test_deployments_build_daily_and_smoke_hourly_and_nothing_of_the_demo(written: Path) -> None:
    name = values(written)["workPool"]["name"]

    found = entries(written)
    assert [*found][:2] == [f"{name}-build-daily", f"{name}-smoke-hourly"]
    by_hand = {f"{name}-run", f"{name}-build-if-fresher"}
    assert set(found) - by_hand <= {f"{name}-build-daily", f"{name}-smoke-hourly", f"{name}-source-freshness"}
    assert {each for each, entry in found.items() if "schedules" not in entry} <= by_hand
    schedules = [entry["schedules"] for entry in found.values() if "schedules" in entry]
    assert all(len(each) == 1 and each[0]["timezone"] == "UTC" for each in schedules)


def test_lines_fit_on_a_screen(tmp_path: Path) -> None:
    init(tmp_path, AT_THE_ROOT)

    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != record.FILE]
    assert [line for path in files for line in path.read_text().splitlines() if len(line) > 120] == []


# ---- prefect.yaml


def commands(folder: Path) -> dict[str, tuple[list[str], str]]:
    return {
        name.removeprefix("shop-"): (entry["parameters"]["commands"], entry["work_pool"]["work_queue_name"])
        for name, entry in entries(folder).items()
        if "commands" in entry.get("parameters", {})
    }


def test_every_new_project_has_a_form_to_run_any_part_of_it(tmp_path: Path) -> None:
    entry = entries(init(tmp_path, AT_THE_ROOT))["shop-run"]

    assert entry["entrypoint"] == "dbtpod.flows.run"
    assert entry["work_pool"] == {"name": "shop", "work_queue_name": "duckdb-writer"}


def test_without_a_selector_smoke_only_reads(tmp_path: Path) -> None:
    assert commands(init(tmp_path, AT_THE_ROOT)) == {
        "build-daily": (["build"], "duckdb-writer"),
        "smoke-hourly": (["compile"], "duckdb-reader"),
    }


def test_the_projects_own_selector_smoke_is_built_after_its_seeds(tmp_path: Path) -> None:
    seeded = init(tmp_path / "seeded", REPOSITORIES["a selector named smoke"])
    seedless = {**AT_THE_ROOT, "selectors.yml": "selectors: [{name: smoke, definition: 'tag:smoke'}]"}

    assert commands(seeded)["smoke-hourly"] == (["seed", "build --selector smoke"], "duckdb-writer")
    assert commands(init(tmp_path / "other", seedless))["smoke-hourly"] == (["build --selector smoke"], "duckdb-writer")


def test_freshness_is_deployed_where_a_source_has_it(tmp_path: Path) -> None:
    fresh = init(tmp_path, {**AT_THE_ROOT, "models/sources.yml": FRESH})

    assert commands(fresh)["source-freshness"] == (["source freshness"], "duckdb-reader")


def test_build_if_fresher_is_deployed_off_and_is_switched_on_by_its_comment(tmp_path: Path) -> None:
    fresh = init(tmp_path, {**AT_THE_ROOT, "models/sources.yml": FRESH})
    off = entries(fresh)["shop-build-if-fresher"]
    file = fresh / "prefect.yaml"
    file.write_text(re.sub(r"^    # (schedules:|  )", r"    \1", file.read_text(), flags=re.MULTILINE))

    on = entries(fresh)["shop-build-if-fresher"]
    assert "schedules" not in off
    assert on == off | {"schedules": on["schedules"]}
    assert on["schedules"] == [{"slug": "every-quarter-of-an-hour", "cron": "*/15 * * * *", "timezone": "UTC"}]
    assert entrypoints.find(off["entrypoint"], fresh) == Flow(
        "dbt-build-if-fresher", frozenset(inspect.signature(build_if_fresher.fn).parameters)
    )


# ---- Dockerfile

# As in this repository's own.
CACHED = "--mount=type=cache,target=/var/cache/dbtpod"


def test_python_models_bring_known_packages_and_name_the_others(tmp_path: Path) -> None:
    folder = init(tmp_path, REPOSITORIES["python models"])

    [run] = [line for line in instructions(folder) if line.startswith("RUN")]
    assert "pip install --quiet --target .packages pandas scikit-learn && dbtpod bake" in run
    assert "# The python models also import shop_rules." in (folder / "Dockerfile").read_text()
    assert "/opt/dbtpod/.packages" in (ROOT / "image" / "Dockerfile").read_text()


def test_packages_from_git_are_given_the_secret_of_the_build(tmp_path: Path) -> None:
    folder = init(tmp_path, REPOSITORIES["packages from git"])

    [run] = [line for line in instructions(folder) if line.startswith("RUN")]
    assert shlex.split(run)[1:] == [CACHED, "--mount=type=secret,id=git-credentials", "dbtpod", "bake"]


def test_one_of_several_projects_is_named_in_the_image_and_in_the_check(tmp_path: Path) -> None:
    folder = init(tmp_path, SEVERAL, DBT_PROJECT_DIR="it's other")

    lines = instructions(folder)
    assert len(lines) == 6
    assert f"FROM dbtpod:{__version__}-build AS project" in lines and f"FROM dbtpod:{__version__}" in lines
    assert 'ENV DBT_PROJECT_DIR="/opt/dbtpod/it\'s other"' in lines
    [run] = [line for line in lines if line.startswith("RUN")]
    assert shlex.split(run) == ["RUN", CACHED, "DBT_PROJECT_DIR=it's other", "dbtpod", "bake"]
    check = workflow(folder)["jobs"]["check"]["steps"][-1]["run"]
    assert "DBT_PROJECT_DIR=it's other" in shlex.split(check)


@pytest.mark.parametrize(("files", "chosen"), [(AT_THE_ROOT, {}), (SEVERAL, {"DBT_PROJECT_DIR": "transform"})])
def test_a_deployment_takes_the_charts_version_from_the_dockerfile(
    tmp_path: Path, files: Files, chosen: Mapping[str, str]
) -> None:
    folder = init(tmp_path, files, **chosen)
    own_registry = re.sub(
        r"(ARG DBTPOD=|FROM )dbtpod:", r"\1registry.example.com:5000/dbtpod:", instructions(folder)[0]
    )
    (folder / "Dockerfile").write_text("\n".join([own_registry, *instructions(folder)[1:]]))

    [line] = [line for line in workflow(folder)["jobs"]["deploy"]["steps"][-1]["run"].splitlines() if "sed" in line]
    done = subprocess.run(
        ["bash", "-euc", f'{line}; echo "$version"'], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{__version__}\n"


# ---- the ignore file

KEPT = (
    "dbt_project.yml",
    "profiles.yml",
    "models/logs/stg_events.sql",
    "models/marts/target/sales_target.sql",
    "models/.dbtpod/orders.sql",
    "seeds/logs/web_log.csv",
    "dbt_packages/dbt_utils/dbt_project.yml",
    "dbt_packages/dbt_utils/logs/README.md",
    "snapshots/target.yml",
)
DROPPED = (
    "target/manifest.json",
    "target/run/shop/models/orders.sql",
    "logs/dbt.log",
    ".dbtpod/writer/profiles.yml",
    ".dbtpod/data/published/1/manifest.json",
    ".git/config",
    ".env",
    ".env.production",
    ".venv/pyvenv.cfg",
    ".user.yml",
    "dev.duckdb",
    "data/dev.duckdb.wal",
    "macros/__pycache__/x.pyc",
)


@pytest.mark.parametrize("folder", ["", "transform/", "my shop/[old] dbt!/", "#1/"])
def test_the_image_has_all_of_the_project_and_nothing_of_the_machine(tmp_path: Path, folder: str) -> None:
    files = {f"{folder}{path}": "" for path in (*KEPT, *DROPPED)} | {f"{folder}dbt_project.yml": project()}
    beside = {"flows/flows.py": "", "data/raw.csv": "", "target/notes.md": "", ".env": "SECRET=1", "sub/.git": ""}

    found = in_image(init(tmp_path, {**beside, **files}))

    own = {f"{folder}{path}" for path in KEPT} | {"flows/flows.py", "data/raw.csv"}
    assert own <= found
    made = {"prefect.yaml", "Dockerfile", "Dockerfile.dockerignore", "values.yaml", ".dbtpod-init.yaml"}
    made |= {".github/workflows/dbtpod.yml"}
    assert found - own - made == ({"target/notes.md"} if folder else set())


def test_the_projects_own_paths_are_left_out_and_the_usual_ones_stay(tmp_path: Path) -> None:
    settings = project(settings="target-path: ../build\nlog-path: out/log\npackages-install-path: ../build/packages")
    files = ("../build/manifest.json", "../build/packages/a/dbt_project.yml", "out/log/dbt.log", "target/a.sql")
    paths = {str(PurePosixPath("transform") / path).replace("transform/../", ""): "" for path in files}

    found = in_image(init(tmp_path, {**paths, "transform/dbt_project.yml": settings}))

    assert found & set(paths) == {"build/packages/a/dbt_project.yml", "transform/target/a.sql"}


# ---- the workflow


def test_github_takes_the_workflow_of_each_repository(tmp_path: Path) -> None:
    folders = [init(tmp_path / str(number), files) for number, files in enumerate(REPOSITORIES.values())]
    subfolder = tmp_path / "git" / "my [old] shop"
    (tmp_path / "git" / ".git").mkdir(parents=True)
    init(subfolder, AT_THE_ROOT)
    init(tmp_path / "several", SEVERAL, DBT_PROJECT_DIR="transform")

    files = [*tmp_path.glob("*/.github/workflows/*.yml")]
    assert len(files) == len(folders) + 2
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        *map(str, files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_script_of_the_workflow_is_bash_and_takes_no_text_of_github_as_code(written: Path) -> None:
    jobs = workflow(written)["jobs"]
    scripts = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]

    assert len(scripts) == 4
    for script in scripts:
        assert "${{" not in script
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_each_expression_of_the_workflow_names_what_there_is(tmp_path: Path) -> None:
    text = (init(tmp_path, AT_THE_ROOT) / ".github/workflows/dbtpod.yml").read_text()
    jobs = workflow(tmp_path)["jobs"]

    found = set(re.findall(r"\$\{\{ (\S+) \}\}", text))
    assert found == {
        "steps.push.outputs.repository",
        "github.token",
        "secrets.KUBECONFIG",
        "vars.HELM_CHART",
        "needs.image.outputs.repository",
    }
    assert [step["id"] for step in jobs["image"]["steps"] if "id" in step] == ["push"]
    assert [*jobs["image"]["outputs"]] == ["repository"] and jobs["deploy"]["needs"] == "image"
    assert jobs["image"]["needs"] == "check" and jobs["image"]["if"] == "github.event_name == 'push'"


def test_in_a_folder_of_a_git_repository_the_workflow_is_where_github_looks_and_runs_in_the_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / ".git").mkdir()

    init(tmp_path / "teams" / "sales", AT_THE_ROOT)

    found = workflow(tmp_path, "dbtpod-teams-sales.yml")
    assert found["defaults"]["run"]["working-directory"] == "teams/sales"
    # YAML 1.1 takes `on` for true.
    assert found[True]["push"]["paths"] == ["teams/sales/**", ".github/workflows/dbtpod-teams-sales.yml"]


def test_a_name_is_made_of_any_dbt_projects_name() -> None:
    given = ["Jaffle_Shop", "Заказы", "_1st_shop", "on", "null", "___", "x" * 80]

    made = [templates.name(each) for each in given]
    assert made == ["jaffle-shop", "zakazy", "dbt-1st-shop", "dbt-on", "dbt-null", "dbt", "x" * 40]


# ---- a project on a database server


@pytest.mark.parametrize(("port", "ports"), [("port: 5433", [5433]), ("keepalives_idle: 0", [5432])])
def test_a_project_on_a_server_gets_its_kind_and_the_way_out_to_it(tmp_path: Path, port: str, ports: list[int]) -> None:
    profiles = f"shop: {{target: dev, outputs: {{dev: {{type: postgres, host: db, {port}}}}}}}"
    folder = init(tmp_path, {"dbt_project.yml": project(), "profiles.yml": profiles})

    assert values(folder)["warehouse"] == {
        "kind": "remote",
        "egress": {"ports": ports},
        "size": "1Gi",
        "keepGenerations": 3,
    }
    assert "make base EXTRA_PACKAGES=dbt-postgres" in (folder / "Dockerfile").read_text()
    done = helm_template(values(folder), "--set-string", "image.tag=1")
    assert done.returncode == 0, done.stderr


def test_a_project_in_a_ducklake_gets_its_kind_and_the_ways_out_to_it(tmp_path: Path) -> None:
    target = (
        "{type: duckdb, database: lake, attach: [{alias: lake, path: 'ducklake:postgres:host=db', "
        "options: {data_path: 's3://bucket/'}}]}"
    )
    profiles = f"shop: {{target: dev, outputs: {{dev: {target}}}}}"
    folder = init(tmp_path, {"dbt_project.yml": project(), "profiles.yml": profiles})

    found = values(folder)["warehouse"]
    assert (found["kind"], found["egress"]) == ("ducklake", {"ports": [5432, 443]})
    assert "make base WITH=ducklake" in (folder / "Dockerfile").read_text()
    done = helm_template(values(folder), "--set-string", "image.tag=1")
    assert done.returncode == 0, done.stderr


def test_a_server_whose_port_is_not_known_is_refused_by_the_chart_with_the_key_to_fill(tmp_path: Path) -> None:
    profiles = "shop: {target: dev, outputs: {dev: {type: trino, host: db}}}"
    folder = init(tmp_path, {"dbt_project.yml": project(), "profiles.yml": profiles})

    done = helm_template(values(folder), "--set-string", "image.tag=1")

    assert "give its ports by warehouse.egress.ports, such as [5432]" in done.stderr
