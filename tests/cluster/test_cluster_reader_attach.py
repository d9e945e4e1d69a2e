"""DuckDB in another pod attaches what the reader serves, while thirty builds are published."""

import json
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

import images
from kube import IMAGE, Cluster, CommandFailed, command, pod
from reading import packages_of_httpfs
from release import READERS, RUN, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(1200)]

BUILDS = 30
# The smallest build there is: two tables that are from one dbt command, or else not of one build.
MODELS = {
    "stamped.sql": """
{{ config(materialized='table') }}
select '{{ invocation_id }}' as stamp, hash(range) as value from range(6000000)
""",
    "stamped_too.sql": """
{{ config(materialized='table') }}
select stamp, count(*) as n from {{ ref('stamped') }} group by stamp
""",
}
# `session` attaches one generation; `look` reads both tables whole.
CLIENT = """
import json, os, pathlib, sys, time
import duckdb, httpx
from importlib.resources import files

name, url = sys.argv[1:]
login = tuple(sys.stdin.read().split(":", 1))

def session(number):
    [extension] = files("duckdb_extension_httpfs").glob("extensions/*/httpfs.duckdb_extension")
    # Nothing may be kept of what was read, and the table is larger than the memory.
    config = {"enable_external_file_cache": False, "memory_limit": "24MB", "threads": 1}
    connection = duckdb.connect(config={"allow_unsigned_extensions": True, **config})
    connection.execute(f"LOAD '{extension}'")
    connection.execute("SET temp_directory = ''")
    connection.execute("SET enable_progress_bar = false")
    header = "MAP {'Authorization': 'Basic ' || base64(encode('%s'))}" % ":".join(login)
    connection.execute(f"CREATE SECRET reader (TYPE http, EXTRA_HTTP_HEADERS {header})")
    connection.execute(f"ATTACH '{url}/data/{number}/warehouse.duckdb' AS warehouse (READ_ONLY)")
    return connection

def look(connection):
    whole = "select min(stamp), max(stamp), count(*), bit_xor(value)::varchar from warehouse.stamped"
    first, last, rows, content = connection.execute(whole).fetchone()
    [(again, n)] = connection.execute("select stamp, n from warehouse.stamped_too").fetchall()
    assert first == last == again and rows == n == 6000000, (first, last, again, rows, n)
    return first, content

def current():
    listed = httpx.get(f"{url}/data/generations.json", auth=login, timeout=30, trust_env=False).raise_for_status()
    [number] = [each["number"] for each in listed.json() if each["current"]]
    return number

def enough():
    return pathlib.Path("/tmp/enough").exists()
"""
COMES_AGAIN = """
seen, sessions = [], 0
while not enough():
    with session(current()) as connection:
        found = look(connection)
        assert look(connection) == found
    seen += [found[0]] if found[0] not in seen[-1:] else []
    sessions += 1
    pathlib.Path(f"/tmp/{name}").touch()
print(json.dumps({"builds": len(seen), "different": len(set(seen)), "sessions": sessions}))
"""
STAYS = """
number, times = current(), 0
with session(number) as connection:
    found = look(connection)
    while not enough():
        assert look(connection) == found
        times += 1
        pathlib.Path(f"/tmp/{name}").touch()
print(json.dumps({"number": number, "times": times}))
"""


@pytest.fixture(scope="module")
def client(reading: Release, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pod that the reader's policy lets in, with a DuckDB that has httpfs: ours has no wheel of it."""
    folder = tmp_path_factory.mktemp("client")
    packages_of_httpfs(folder / "packages")
    dockerfile = f"FROM {IMAGE}\nCOPY packages /opt/client\nENV PYTHONPATH=/opt/client\n"
    (folder / "Dockerfile").write_text(dockerfile)
    image = f"{IMAGE}-client"
    command("docker", "build", "--tag", image, str(folder), seconds=300, DOCKER_BUILDKIT="1")
    reading.cluster.load(image)
    shutil.rmtree(folder)
    one = pod("client", ("sleep", "infinity"), {"app": "client"}, {})
    one["metadata"]["namespace"] = READERS
    one["spec"]["containers"][0]["image"] = image
    reading.cluster.apply(one)
    reading.cluster.kubectl("wait", "pod", "client", f"--namespace={READERS}", "--for=condition=Ready", "--timeout=90s")
    return READERS


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    files = {f"dbt_project/models/stamped/{name}": text for name, text in MODELS.items()}
    made = images.variant(tmp_path_factory.mktemp("stamped"), "stamped", files)
    cluster.load(made)
    return made


def build(release: Release, image: str) -> str:
    """Publish both tables once more."""
    part = {"request": {"command": "run", "select": ["stamped", "stamped_too"]}}
    run = release.prefect.ended(release.prefect.start_with(RUN, part, image=image))
    assert run["state"]["name"] == "Completed", release.prefect.page(run["id"])
    return str(run["id"])


def in_client(release: Release, *argv: str, stdin: str | None = None, seconds: float = 60) -> str:
    said = ("exec", "--stdin", "client", f"--namespace={READERS}", "--", *argv)
    return release.cluster.kubectl(*said, stdin=stdin, seconds=seconds)


def is_reading(release: Release, name: str, report: Future[str]) -> bool:
    """Whether that client has read once; fails where it has ended."""
    if report.done():
        raise AssertionError(report.result())
    try:
        in_client(release, "test", "-e", f"/tmp/{name}")
    except CommandFailed:
        return False
    return True


@pytest.mark.usefixtures("client")
def test_sessions_of_another_pod_see_whole_builds_and_each_its_own_during_thirty_builds(
    reading: Release, image: str
) -> None:
    url = f"http://dbtpod-reader.{reading.namespace}.svc:4300/reader"
    build(reading, image)
    first = int(reading.generation())

    def run(name: str, script: str) -> str:
        argv = ("python", "-c", CLIENT + script, name, url)
        return in_client(reading, *argv, stdin=reading.prefect.auth, seconds=1000)

    with ThreadPoolExecutor(2) as beside:
        clients = {
            name: beside.submit(run, name, script) for name, script in (("again", COMES_AGAIN), ("stays", STAYS))
        }
        try:
            for name, client in clients.items():
                until(partial(is_reading, reading, name, client), 90, f"a client that {name}")
            for _ in range(BUILDS):
                build(reading, image)
                assert not [name for name, client in clients.items() if client.done()]
        finally:
            in_client(reading, "touch", "/tmp/enough")
        report: dict[str, dict[str, Any]] = {name: json.loads(client.result(120)) for name, client in clients.items()}

    assert int(reading.generation()) == first + BUILDS
    # Every build is another one, and none came back.
    assert report["again"]["builds"] == report["again"]["different"] > 3
    assert report["again"]["sessions"] >= report["again"]["builds"]
    # Long removed from the volume, and still what its session had.
    assert report["stays"]["number"] == first
    assert report["stays"]["times"] > BUILDS
    [reader] = reading.pods("reader")
    log = reading.kubectl("logs", reader["metadata"]["name"])
    assert log.count(f"GET /reader/data/{first}/warehouse.duckdb") > report["stays"]["times"]
    assert "Traceback" not in log


@pytest.mark.usefixtures("client")
def test_without_the_login_nothing_is_attached(reading: Release) -> None:
    url = f"http://dbtpod-reader.{reading.namespace}.svc:4300/reader"
    script = f"{CLIENT}\nsession({int(reading.generation())})"

    with pytest.raises(CommandFailed, match=r"does not exist|401"):
        in_client(reading, "python", "-c", script, "guess", url, stdin="admin:guessed")
