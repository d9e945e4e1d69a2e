"""Prefect's own data in PostgreSQL: away at first, special characters in every field, and its password changed."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kube import Cluster
from pod_postgres import PodPostgres
from release import SMOKE, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

DATA = "postgres-data"
USER, NAME = 'the "user"@1', "runs/of?dbt #1"
PASSWORD, NEXT = "p@ss:w/o?r#d%&\"ae' \\ü%41", "an?other@one"
DATABASE = {
    "host": f"postgres.{DATA}.svc",
    "user": USER,
    "name": NAME,
    "passwordSecret": {"name": "postgres"},
}


@pytest.fixture(scope="module")
def data(cluster: Cluster) -> Iterator[PodPostgres]:
    """PostgreSQL's namespace, and its image on the node; it does not run yet."""
    one = PodPostgres(cluster, DATA)
    one.prepare()
    yield one
    one.remove()


@pytest.fixture(scope="module")
def postgres(cluster: Cluster, data: PodPostgres) -> Iterator[Release]:
    """A namespace for the release; nothing runs yet."""
    one = Release(cluster, cluster.namespace("postgres"))
    give_password(one, PASSWORD)
    yield one
    one.disconnect()
    cluster.kubectl("delete", "namespace", one.namespace, "--wait=false")


def give_password(release: Release, password: str) -> None:
    metadata = {"name": "postgres", "namespace": release.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": password}}
    release.cluster.apply(secret)


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def said(release: Release) -> str:
    """What the server's container says; empty while it has not started."""
    statuses = [status for pod in release.pods("server") for status in pod["status"].get("containerStatuses") or []]
    return release.kubectl("logs", "deployment/dbtpod-server") if any("running" in s["state"] for s in statuses) else ""


def restarts(release: Release) -> int:
    [server] = release.pods("server")
    return int(server["status"]["containerStatuses"][0]["restartCount"])


def test_it_waits_for_a_database_that_is_away_then_for_its_role_and_says_so(
    postgres: Release, data: PodPostgres
) -> None:
    options = ["--set-json", f"server.database={json.dumps(DATABASE)}"]
    with ThreadPoolExecutor() as beside:
        install = beside.submit(postgres.install, *options)

        def waits() -> bool:
            assert not install.done(), install.result()
            return "Waiting for the database" in said(postgres)

        until(waits, 90, "the server's first word")
        assert f"PostgreSQL at postgres.{DATA}.svc:5432 (database {NAME}, user {USER}): " in said(postgres)

        data.start("admin")
        until(lambda: "Correct user and password in the Secret" in said(postgres), 60, "the role that is missing")

        role = '"' + USER.replace('"', '""') + '"'
        data.sql(f"create role {role} login password {literal(PASSWORD)};")
        data.sql(f'create database "{NAME}" owner {role};')
        install.result()

    assert restarts(postgres) == 0
    log = said(postgres)
    assert PASSWORD not in log
    postgres.prefect.completed(SMOKE)
    assert int(data.sql(f'\\connect "{NAME}"\nselect count(*) from flow_run;').split()[-1]) > 0


def test_a_server_that_is_replaced_keeps_the_history(postgres: Release) -> None:
    before = {each["id"] for each in postgres.prefect.all("flow_runs")}

    postgres.kubectl("rollout", "restart", "deployment/dbtpod-server")
    postgres.kubectl("rollout", "status", "deployment/dbtpod-server", "--timeout=180s", seconds=200)
    postgres.disconnect()

    assert before <= {each["id"] for each in postgres.prefect.all("flow_runs")}


def test_a_changed_password_of_the_database_reaches_the_server(postgres: Release, data: PodPostgres) -> None:
    before = restarts(postgres)
    data.sql(f'alter role "the ""user""@1" password {literal(NEXT)};')

    give_password(postgres, NEXT)

    until(lambda: restarts(postgres) == before + 1, 180, "the server to start again")
    postgres.kubectl("rollout", "status", "deployment/dbtpod-server", "--timeout=180s", seconds=200)
    postgres.disconnect()
    postgres.prefect.completed(SMOKE)
