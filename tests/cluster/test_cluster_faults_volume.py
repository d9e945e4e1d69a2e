"""A volume that is full, before a build and in the middle of one."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from faults import CONTENT, goes_on_by_itself, in_the_middle, is_settled, state
from kube import command, pod
from release import BUILD, SHELL, Release, on_another_claim, static_volume

pytestmark = [pytest.mark.cluster, pytest.mark.soak]

SMALL = "/var/small"


@pytest.fixture(scope="module")
def small(warehouse: Release) -> Iterator[Release]:
    """The same release on a volume of 48 MB, with a shell of its own there and a published warehouse."""
    on_node(warehouse, f"mkdir -p {SMALL}; mountpoint -q {SMALL} || mount -t tmpfs -o size=48m,mode=0777 tmpfs {SMALL}")
    warehouse.cluster.apply(*static_volume("small", SMALL, warehouse.namespace))
    one = replace(warehouse, shell_pod="small-shell")
    one.start_pod(pod("small-shell", SHELL, {"app": "shell"}, {"/data": "small"}))
    with on_another_claim(warehouse, "small"):
        one.prefect.completed(BUILD)
        yield one
    warehouse.kubectl("delete", "pod/small-shell", "pvc/small", "pv/small", "--wait=false")


def on_node(release: Release, script: str) -> None:
    command("docker", "exec", f"{release.cluster.name}-control-plane", "sh", "-c", script)


def fill(release: Release, left: int) -> None:
    """Leave that many kB free; a run that writes meanwhile may take some of them first."""
    count = f"$(( $(df --output=avail -k {SMALL} | tail -1) - {left} ))"
    on_node(release, f"dd if=/dev/zero of={SMALL}/filler bs=1k count={count} 2>/dev/null; test -s {SMALL}/filler")


def test_a_volume_that_is_full_before_the_build_fails_the_run_and_says_how_much_it_needs(small: Release) -> None:
    content = small.rows(CONTENT)
    fill(small, left=300)
    try:
        run = small.prefect.run(BUILD)
    finally:
        on_node(small, f"rm {SMALL}/filler")

    assert run["state"]["name"] == "Failed", small.prefect.page(run["id"])
    assert "No space left on the volume" in run["state"]["message"]
    assert "needs" in run["state"]["message"] and "is free" in run["state"]["message"]
    is_settled(small, content, unpublished=run["id"])
    goes_on_by_itself(small, content)


def test_a_volume_that_becomes_full_in_the_middle_of_a_build_fails_the_run(small: Release) -> None:
    content = small.rows(CONTENT)

    try:
        with in_the_middle(small) as run:
            fill(small, left=0)
    finally:
        on_node(small, f"rm {SMALL}/filler")

    assert state(small, run) == "Failed", small.prefect.page(run)
    assert "No space left on the volume" in small.prefect.flow_run(run)["state"]["message"]
    is_settled(small, content, unpublished=run)
    goes_on_by_itself(small, content)
