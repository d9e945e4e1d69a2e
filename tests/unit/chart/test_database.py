"""The server's database: SQLite on a claim, or PostgreSQL by a URL or by fields."""

from typing import Any

import pytest

from rendered import environment, pod_specs, server_container
from rendering import Render, helm_template

pytestmark = pytest.mark.xdist_group("chart")

URL = {"existingSecret": "db", "key": "uri", "port": 6432}
FIELDS = {
    "host": "pg.data.svc",
    "port": 6432,
    "user": 'a "user": {x}',
    "name": "runs #1",
    "sslMode": "verify-full",
    "passwordSecret": {"name": "pg-app", "key": "pw"},
    "caSecret": {"name": "pg-ca", "key": "root.crt"},
}


@pytest.mark.parametrize("database", [URL, FIELDS], ids=["url", "fields"])
def test_postgres_takes_the_place_of_the_servers_volume(render: Render, database: dict[str, Any]) -> None:
    values = {"server": {"database": database}}

    assert not render(values, kind="PersistentVolumeClaim", component="server")
    [policy] = render(values, kind="NetworkPolicy", component="server")
    assert policy["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 6432}]}]


def test_a_url_comes_from_its_secret(render: Render) -> None:
    variables = environment(server_container(render, {"server": {"database": URL}}))

    reference = {"secretKeyRef": {"name": "db", "key": "uri"}}
    assert variables["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == reference
    assert not {name for name in variables if name.startswith("PG")}


def test_fields_are_taken_as_they_are_and_the_password_from_its_secret(render: Render) -> None:
    values = {"server": {"database": FIELDS}}
    variables = environment(server_container(render, values))

    given = {name.removeprefix("PREFECT_SERVER_DATABASE_"): value for name, value in variables.items()}
    assert given["PASSWORD"] == {"secretKeyRef": {"name": "pg-app", "key": "pw"}}
    assert [given[name] for name in ("HOST", "PORT", "USER", "NAME")] == [
        "pg.data.svc",
        "6432",
        'a "user": {x}',
        "runs #1",
    ]
    assert variables["PGSSLMODE"] == "verify-full"
    folder, _, file = variables["PGSSLROOTCERT"].rpartition("/")
    spec = pod_specs(render(values))["dbtpod-server"]
    [mount] = [each["name"] for each in spec["containers"][0]["volumeMounts"] if each["mountPath"] == folder]
    [volume] = [each["projected"]["sources"] for each in spec["volumes"] if each["name"] == mount]
    assert volume == [{"secret": {"name": "pg-ca", "items": [{"key": "root.crt", "path": file}]}}]


def test_a_certificate_is_verified_by_the_images_authorities_where_none_is_named(render: Render) -> None:
    database = {**FIELDS, "caSecret": {"name": ""}, "sslMode": "verify-ca"}

    variables = environment(server_container(render, {"server": {"database": database}}))
    assert variables["PGSSLROOTCERT"] == "/etc/ssl/certs/ca-certificates.crt"


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"database": {**FIELDS, "existingSecret": "db"}}, "existingSecret and server.database.host are both set"),
        ({"database": {"host": "pg"}}, "passwordSecret.name: name the Secret that holds the password of prefect"),
        (
            {"database": {"passwordSecret": {"name": "pg"}}},
            "passwordSecret.name has no effect without server.database.existingSecret or",
        ),
        ({"database": {**FIELDS, "sslMode": "require"}}, "nothing is verified with it"),
        (
            {"database": URL, "persistence": {"existingClaim": "old"}},
            "existingClaim has no effect with server.database, as it is for SQLite",
        ),
        ({"replicas": 2}, "server.replicas is 2: Prefect's servers share events and leases by Redis"),
        ({"database": {**FIELDS, "sslMode": "on"}}, "sslMode"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(server: dict[str, Any], said: str) -> None:
    done = helm_template({"server": server})

    assert done.returncode != 0
    assert said in done.stderr
