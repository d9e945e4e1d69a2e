"""Limits that a new pod would not keep either, the deadline and the scratch space: ended once, with the reason."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from faults import CONTENT, Content, is_settled
from images import case
from release import BUILD, Release

pytestmark = [pytest.mark.cluster, pytest.mark.soak]

STOP_DBT = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if b"/preload.py\\0" in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
        os.kill(int(process.name), signal.SIGSTOP)
"""


SOAKED = [pytest.param(each, marks=pytest.mark.soak) for each in ("pauses", "pauses, and dbt is stopped")]


@pytest.fixture(scope="module")
def content(warehouse: Release) -> Content:
    return warehouse.rows(CONTENT)


@pytest.mark.parametrize("what", ["waits", *SOAKED])
def test_a_run_that_is_longer_than_its_deadline_is_ended_once_and_names_it(
    warehouse: Release, content: Content, what: str
) -> None:
    model, _, stopped = what.partition(",")
    run = warehouse.prefect.start(BUILD, **case(model), active_deadline_seconds=40)
    if stopped:
        warehouse.prefect.logged(run, "START python table model main.pausing", 40)
        warehouse.shell(STOP_DBT, name=warehouse.pods_of(run)[-1]["metadata"]["name"])

    ended = warehouse.prefect.ended(run, 100)

    assert ended["state"]["name"] == "TimedOut", warehouse.prefect.page(run)
    assert "deadline of 40 s" in ended["state"]["message"]
    assert ended["run_count"] == 1
    is_settled(warehouse, content, unpublished=run)
    assert len(warehouse.pods_of(run)) <= 1
    assert warehouse.prefect.flow_run(run)["state"]["name"] == "TimedOut"


@contextmanager
def scratch_of(release: Release, size: str) -> Iterator[None]:
    """The pool's template with another jobs.scratch.sizeLimit."""
    template = release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"]
    changed: dict[str, Any] = json.loads(json.dumps(template))
    spec = changed["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    [volume] = [each for each in spec["volumes"] if each["name"] == "scratch"]
    [limit] = [each for each in spec["containers"][0]["env"] if each["name"] == "DBTPOD_SCRATCH_LIMIT"]
    assert limit["value"] == volume["emptyDir"]["sizeLimit"]
    limit["value"] = volume["emptyDir"]["sizeLimit"] = size
    release.prefect.call("PATCH", "work_pools/dbtpod", base_job_template=changed)
    try:
        yield
    finally:
        release.prefect.call("PATCH", "work_pools/dbtpod", base_job_template=template)


@pytest.mark.parametrize("what", ["litters", pytest.param("spills", marks=pytest.mark.soak)])
def test_a_run_that_exceeds_its_scratch_limit_fails_once_with_the_value_to_raise(
    warehouse: Release, content: Content, what: str
) -> None:
    variables = case(what)
    variables["env"]["DBTPOD_MEMORY_LIMIT"] = "128MB"

    with scratch_of(warehouse, "100Mi"):
        run = warehouse.prefect.ended(warehouse.prefect.start(BUILD, **variables), 150)

    assert run["state"]["name"] == "Failed", warehouse.prefect.page(run["id"])
    assert "scratch limit" in run["state"]["message"]
    assert "jobs.scratch.sizeLimit" in run["state"]["message"]
    assert run["run_count"] == 1
    is_settled(warehouse, content, unpublished=run["id"])
