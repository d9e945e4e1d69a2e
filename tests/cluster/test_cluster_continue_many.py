"""A failed run of 200 models continues after the fix, also where its pod dies, and readers see two whole builds."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import images
import many_models
from faults import GATE, open_gate
from kube import command, pod
from many_models import LEFT
from release import BUILD, SHELL, Release, claim, on_another_claim
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

MODELS = ("dbt_project/models", "dbt_project/seeds", "dbt_project/snapshots", "dbt_project/tests")
ENOUGH = "import pathlib; pathlib.Path('/data/enough').{}"
PUBLISHED = "/data/published/current/warehouse.duckdb"


@pytest.fixture(scope="module")
def images_of_many(warehouse: Release, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The image in which a model is wrong, and the one in which it is fixed."""
    made = []
    for name in ("broken", "fixed"):
        folder: Path = tmp_path_factory.mktemp(name)
        # Without the demo's project, apart from its profile.
        without = (*MODELS, "dbt_project/selectors.yml")
        made.append(images.variant(folder, name, many_models.files(fixed=name == "fixed"), without=without))
    warehouse.cluster.load(*made)
    return made[0], made[1]


@pytest.fixture(scope="module")
def many(warehouse: Release, images_of_many: tuple[str, str]) -> Iterator[Release]:
    """The release on a volume of its own, where the fixed project is published."""
    warehouse.cluster.apply(claim("many", warehouse.namespace))
    one = replace(warehouse, shell_pod="many-shell")
    one.start_pod(pod("many-shell", SHELL, {"app": "shell"}, {"/data": "many"}))
    with on_another_claim(warehouse, "many"):
        one.prefect.completed(BUILD, image=images_of_many[1])
        yield one
    warehouse.kubectl("delete", "pod/many-shell", "pvc/many", "--wait=false")


@pytest.fixture(scope="module")
def from_nothing(images_of_many: tuple[str, str]) -> dict[str, str]:
    """What plain `dbt build` makes of the fixed project, in an empty file."""
    script = f"""
cd dbt_project && dbt build --profiles-dir . --target-path /tmp/target --log-path /tmp/logs > /tmp/dbt.txt ||
  {{ tail -30 /tmp/dbt.txt; exit 1; }}
python -c '{many_models.CONTENT}' warehouse.duckdb
"""
    run = ("docker", "run", "--rm", "--user", "0", images_of_many[1], "sh", "-c", script)
    return content(command(*run, seconds=300))


def content(printed: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(printed)
    assert len(found) == many_models.NUMBER
    return found


@contextmanager
def a_reader(release: Release) -> Iterator[dict[str, Any]]:
    """A pod reads what is published, again and again, until the block ends; then how often, and which builds."""
    report: dict[str, Any] = {}
    argv = (
        "exec",
        release.shell_pod,
        "--",
        "python",
        "-c",
        many_models.READ,
        str(many_models.NUMBER),
        str(many_models.ROWS),
    )
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(release.kubectl, *argv, seconds=600)
        try:
            yield report
        finally:
            release.shell(ENOUGH.format("touch()"))
            printed = reading.result(60)
            release.shell(ENOUGH.format("unlink()"))
            report |= json.loads(printed)


def failed(release: Release, image: str) -> str:
    """A run in which m150 fails: nothing of it is published."""
    before = release.generation()
    run = release.prefect.run(BUILD, image=image)
    assert run["state"]["name"] == "Failed", release.prefect.page(run["id"])
    assert release.totals(run["id"])["PASS"] == many_models.NUMBER - len(LEFT)
    assert release.generation() == before
    return str(run["id"])


def built(release: Release, pod_name: str) -> set[str]:
    """The models that a pod began."""
    return set(re.findall(r"START \w+ table model main\.(m\d+)", release.kubectl("logs", pod_name)))


def names(release: Release, run: str) -> list[str]:
    return [each["metadata"]["name"] for each in release.pods_of(run)]


def test_after_the_fix_only_the_failed_model_and_what_reads_it_are_built(
    many: Release, images_of_many: tuple[str, str], from_nothing: dict[str, str]
) -> None:
    broken, fixed = images_of_many
    with a_reader(many) as report:
        run, before = failed(many, broken), many.generation()
        [first] = names(many, run)
        ended = many.prefect.retry(run, image=fixed)
        after = many.generation()

    assert ended["state"]["name"] == "Completed", many.prefect.page(run)
    _, second = names(many, run)
    assert built(many, second) == LEFT
    assert not built(many, first) & (LEFT - {"m150"})
    assert after > before
    assert content(many.shell(many_models.CONTENT, PUBLISHED)) == from_nothing
    # The build before, and then this one: none in between, and none twice.
    assert report["reads"] > 20
    assert len(report["seen"]) == 2


def test_the_same_where_the_pod_dies_in_the_middle_of_the_continuing_attempt(
    many: Release, images_of_many: tuple[str, str], from_nothing: dict[str, str]
) -> None:
    broken, fixed = images_of_many
    with a_reader(many) as report:
        run, before = failed(many, broken), many.generation()
        many.prefect.start_again(run, image=fixed, env={"CASE": "pauses"})
        try:
            many.prefect.logged(run, f"START python table model main.m{many_models.WAITING}", 120)
            killed = names(many, run)[-1]
            begun = built(many, killed)
            assert many.generation() == before
            many.kubectl("delete", "pod", killed, "--grace-period=0", "--force")
            until(lambda: names(many, run)[-1] != killed, 60, "a new pod")
            open_gate(many)
            ended = many.prefect.ended(run, 240)
        finally:
            open_gate(many)
            many.prefect.ended(run, 180)
            many.shell(GATE.format("unlink(missing_ok=True)"))

    assert ended["state"]["name"] == "Completed", many.prefect.page(run)
    assert begun == {"m150", "m160", "m170"}
    # What had ended before the pod's death is not built again.
    assert built(many, names(many, run)[-1]) == {"m170", "m180", "m190"}
    assert many.generation() > before
    assert content(many.shell(many_models.CONTENT, PUBLISHED)) == from_nothing
    assert len(report["seen"]) == 2
