"""The database's address is read in all of its usual forms, and the wait says what it waits for."""

from urllib.parse import quote

import pytest

from dbtpod.errors import SettingsError
from dbtpod.startup import database
from prefect_server import free_port

PASSWORD = "p@ss:w/o?r#d%&\"ae' \\ü%41"
USER = "us er@1"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_a_url_in_any_usual_form_is_the_drivers(scheme: str) -> None:
    text = f"{scheme}://{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@pg.data.svc:6432/runs?sslmode=require\n"

    url = database.address({database.VARIABLE: text})

    assert url is not None
    assert (url.drivername, url.username, url.password) == ("postgresql+asyncpg", USER, PASSWORD)
    assert (url.host, url.port, url.database, dict(url.query)) == ("pg.data.svc", 6432, "runs", {})
    assert database.tls_mode({database.VARIABLE: text}) == {"PGSSLMODE": "require"}


@pytest.mark.parametrize("name", ["runs", "pre/fect?db", "100%41", "ü #"])
def test_fields_hold_any_character(name: str) -> None:
    fields = {"HOST": "pg", "PORT": "6432", "USER": USER, "PASSWORD": PASSWORD, "NAME": name}

    url = database.address({f"{database.FIELDS}{key}": value for key, value in fields.items()})

    assert url is not None
    # What Prefect makes of the text that it is given.
    read = database.make_url(url.render_as_string(hide_password=False))
    assert (read.username, read.password, read.host, read.port) == (USER, PASSWORD, "pg", 6432)
    assert (read.query.get("database") or read.database) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"postgresql://user:{PASSWORD}@pg:5432/runs", "more than one @. Write the password's as %40"),
        ("mysql://user:s3same@pg/runs", "it begins with mysql://"),
        ("sqlite+aiosqlite:////data/prefect.db", "without it the server uses SQLite"),
        ("pg.data.svc", "it has no ://"),
        ("postgresql://user:s3same@pg", "it names no database"),
        ("postgresql://user:s3same@pg:port/runs", "its host, port or query cannot be read"),
    ],
)
def test_what_is_no_url_is_said_with_the_right_form_and_without_its_password(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as raised:
        database.address({database.VARIABLE: text})

    assert said in str(raised.value)
    assert "postgresql://user:password@host:5432/database" in str(raised.value)
    assert not [word for word in (PASSWORD, "s3same", "p@ss") if word in str(raised.value)]


def test_without_a_database_there_is_nothing_to_wait_for() -> None:
    assert database.address({}) is None
    assert database.wait({}, print) == {}


def test_an_unreachable_database_is_named_at_once_with_what_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Enough(Exception):
        pass

    def stop(_: float) -> None:
        raise Enough

    monkeypatch.setattr(database.time, "sleep", stop)
    port = free_port()
    with pytest.raises(Enough):
        database.wait({database.VARIABLE: f"postgresql://app:{quote(PASSWORD)}@127.0.0.1:{port}/runs"}, said.append)

    assert f"PostgreSQL at 127.0.0.1:{port} (database runs, user app): " in said[0]
    assert "Is it running, and does a network policy let the server reach it?" in said[0]
    assert quote(PASSWORD) not in said[0]
