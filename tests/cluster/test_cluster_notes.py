"""The commands that NOTES.txt prints, typed right after an upgrade that starts another worker."""

from collections.abc import Iterator

import pytest

from kube import command
from release import BUILD, Release

pytestmark = [pytest.mark.cluster, pytest.mark.soak]


@pytest.fixture(scope="module")
def upgraded(warehouse: Release) -> Iterator[Release]:
    """Its old worker is about to end, and there are several registrations."""
    warehouse.install("--set", "worker.lateRuns=2", "--set", "jobs.ttlSecondsAfterFinished=86401")
    yield warehouse
    warehouse.install()


def typed(release: Release, words: str) -> str:
    """Run the command of the notes on the line with these words."""
    notes = release.cluster.helm("get", "notes", "dbtpod", "--namespace", release.namespace)
    [line] = [line for line in notes.splitlines() if words in line]
    line = line.replace("<its name>", BUILD)
    return command("sh", "-c", line[line.index("kubectl") :], seconds=300, KUBECONFIG=str(release.cluster.kubeconfig))


def test_a_flow_is_run_and_followed_to_its_end(upgraded: Release) -> None:
    said = typed(upgraded, "prefect deployment run")

    assert "Completed" in said, said


def test_what_the_registration_said_is_one_log_and_the_newest(upgraded: Release) -> None:
    assert len(upgraded.pods("register")) > 1
    assert typed(upgraded, "no deployments in the UI") in upgraded.registration_logs()


def test_the_workers_log_is_the_new_workers(upgraded: Release) -> None:
    assert "Worker" in typed(upgraded, "runs stay Scheduled or Late")
