"""`dbtpod prove`: which deployment proves an install, and what is said of its run."""

from pathlib import Path
from typing import Any

import pytest

from dbtpod import cli
from dbtpod.proof import TAG
from registering import ask, daily, run, write


@pytest.fixture
def registered(api: None, project: Path) -> Any:
    """Register a deployment with these tags; its full name."""

    def register(*tags: str) -> None:
        write(project, daily(tags=list(tags)))
        assert run(project) == 0

    return register


def test_without_the_tag_the_error_says_what_to_write(registered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    registered("nightly")

    assert cli.main(["prove", "--pool", "shop"]) == 1
    assert f"has the tag {TAG!r}: give it, in prefect.yaml" in capsys.readouterr().err


def test_a_run_that_does_not_end_in_its_time_proves_nothing(
    registered: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    registered("nightly", TAG)

    # No worker takes it.
    assert cli.main(["prove", "--pool", "shop", "--seconds", "1"]) == 1
    assert "Scheduled" in capsys.readouterr().out
    assert len(ask(lambda client: client.read_flow_runs())) >= 1
