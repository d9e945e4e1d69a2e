"""`dbtpod prove`: which deployment proves an install, and what is said of its run."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from dbtpod import cli, proof
from dbtpod.proof import TAG
from registering import ask, daily, run, write
from serving import serving


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


@contextmanager
def answering(*statuses: int) -> Iterator[str]:
    """A server that answers so, one after the other, the last one always; its address."""
    left = list(statuses)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here = self.path == "/reader/health"
            self.send_response(left.pop(0) if here and left[1:] else left[0] if here else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}/reader"


def test_a_reader_that_is_healthy_after_a_moment_is_proven() -> None:
    said: list[str] = []

    with answering(503, 200) as address:
        assert proof.prove_reader(address, said.append, seconds=60) == 0

    assert said == ["reader: healthy"]


def test_a_reader_that_stays_ill_or_away_is_named_with_what_it_says() -> None:
    said: list[str] = []

    with answering(503) as address:
        assert proof.prove_reader(address, said.append, seconds=0) == 1
    assert proof.prove_reader(address, said.append, seconds=0) == 1

    assert said[0] == f"reader: {address}/health answers 503"
    assert said[1].startswith(f"reader: {address} does not answer: ConnectError")
