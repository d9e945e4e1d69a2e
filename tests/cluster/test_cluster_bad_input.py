"""What a mistake says, in the place where the user looks."""

import base64
import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest

from kube import REPO, CommandFailed
from release import FRESHNESS, SMOKE, Release, on_another_claim, static_volume
from waiting import until

pytestmark = pytest.mark.cluster

NEWER = gzip.decompress((REPO / "tests/support/data/written-by-duckdb-2.0.0.duckdb.gz").read_bytes())
BRING = "import base64, pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(base64.b64decode(sys.stdin.read()))"
READ = "import pathlib, sys; print(len(pathlib.Path(sys.argv[1]).read_bytes()))"
REMOVE = "import pathlib, sys; pathlib.Path(sys.argv[1]).unlink()"
WORKING_FILE, OWNER = "/data/work/warehouse.duckdb", "/data/work/owner.json"


@pytest.fixture(scope="module", autouse=True)
def cannot_start(warehouse: Release) -> dict[str, str]:
    """Runs whose pod can never start; the other tests of this file pass while the watchdog has patience with them."""
    prefect = warehouse.prefect
    image = prefect.start(FRESHNESS, image="dbtpod:nobody-built-this")
    until(lambda: warehouse.pods_of(image), 30, "the pod")
    with on_another_claim(warehouse, "nobody-made-this"):
        claim = prefect.start(FRESHNESS)
        until(lambda: warehouse.pods_of(claim), 30, "the pod")
    return {"image": image, "claim": claim}


@contextmanager
def brought(release: Release, content: bytes) -> Iterator[None]:
    """A file that a user put where runs build, in place of what a run left."""
    release.shell("import pathlib, sys; pathlib.Path(sys.argv[1]).unlink(missing_ok=True)", OWNER)
    release.shell(BRING, WORKING_FILE, stdin=base64.b64encode(content).decode())
    try:
        yield
    finally:
        release.shell(REMOVE, WORKING_FILE)


@pytest.mark.parametrize(
    ("content", "what"),
    [(NEWER, "newer DuckDB"), (b"id,name\n1,not a database\n" * 1000, "cannot open")],
    ids=["written by DuckDB 2.0", "a CSV file"],
)
def test_a_working_file_that_cannot_be_used_fails_the_run_and_is_kept(
    warehouse: Release, content: bytes, what: str
) -> None:
    before = warehouse.generation()

    with brought(warehouse, content):
        run = warehouse.prefect.run(SMOKE)
        kept = int(warehouse.shell(READ, WORKING_FILE))

    assert run["state"]["name"] == "Failed"
    assert what in run["state"]["message"]
    assert WORKING_FILE in run["state"]["message"]
    assert kept == len(content)
    assert warehouse.generation() == before


def test_a_volume_that_cannot_be_written_to_fails_the_run_and_says_how_to_mend_it(warehouse: Release) -> None:
    # As an NFS export or a hostPath often is: root's, and fsGroup does not change that.
    warehouse.cluster.apply(*static_volume("root-owned", "/var/root-owned", warehouse.namespace))

    try:
        with on_another_claim(warehouse, "root-owned"):
            run = warehouse.prefect.run(SMOKE)
    finally:
        warehouse.kubectl("delete", "pvc/root-owned", "pv/root-owned", "--wait=false")

    assert run["state"]["name"] == "Failed"
    assert "uid 10001 (gid 10001) may not write to /data: it belongs to uid 0" in run["state"]["message"]
    assert "fsGroup" in run["state"]["message"]


@pytest.mark.soak
def test_an_api_that_cannot_be_reached_fails_the_release_and_names_the_address(release: Release) -> None:
    elsewhere = Release(release.cluster, release.cluster.namespace("no-server"))
    nowhere = "http://prefect.nowhere.svc:4200/api"
    options = ("server.enabled=false", f"prefect.apiUrl={nowhere}", "register.waitSeconds=3")

    try:
        with pytest.raises(CommandFailed):
            elsewhere.install(*(part for option in options for part in ("--set", option)), "--wait=hookOnly")
        said = elsewhere.registration()
    finally:
        release.cluster.kubectl("delete", "namespace", "no-server", "--wait=false")

    assert f"Prefect's API at {nowhere}/ could not be reached within 3 s" in said


@pytest.mark.parametrize(
    ("what", "reason", "advice"),
    [
        ("image", "dbtpod:nobody-built-this", "image.tag"),
        ("claim", 'persistentvolumeclaim "nobody-made-this" not found', "warehouse.existingClaim"),
    ],
)
def test_a_pod_that_cannot_start_ends_the_run_with_the_reason_within_two_minutes(
    warehouse: Release, cannot_start: dict[str, str], what: str, reason: str, advice: str
) -> None:
    run = warehouse.prefect.ended(cannot_start[what], 120)

    assert run["state"]["name"] == "Crashed"
    assert reason in run["state"]["message"]
    assert advice in run["state"]["message"]
    waited = datetime.fromisoformat(run["end_time"]) - datetime.fromisoformat(run["created"])
    assert waited < timedelta(minutes=2)
