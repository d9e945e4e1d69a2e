"""Who may read, and with which settings the reader starts."""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import warehouse
from dbtpod.errors import SettingsError
from dbtpod.reader import settings
from reading import Reading, reading, volume


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    folder = tmp_path_factory.mktemp("access")
    kept = volume(folder)
    warehouse.build(kept, 1)
    with reading(kept, folder / "reader", DBTPOD_READER_AUTH="anna:pä:ss") as found:
        yield found


def header(login: str) -> str:
    return f"Basic {b64encode(login.encode()).decode()}"


@pytest.mark.parametrize(
    "path", ["/", "/data/1/warehouse.duckdb", "/data/current/warehouse.duckdb", "/data/generations.json", "/nothing"]
)
def test_every_address_needs_the_login(reader: Reading, path: str) -> None:
    answer = reader.get(path)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="dbtpod", charset="UTF-8"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert reader.get(path, authorization=header("anna:pä:ss")).status_code != 401


def test_health_needs_none(reader: Reading) -> None:
    assert reader.get("/health").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{reader.port}/health").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{reader.port}/").status_code == 401


@pytest.mark.parametrize(
    "given",
    [
        header("anna:pä"),
        header("Anna:pä:ss"),
        header(":"),
        header("anna"),
        "Basic",
        "Basic ===",
        "Bearer x",
        "basic \u00e4",
    ],
)
def test_another_login_is_refused(reader: Reading, given: str) -> None:
    answer = httpx.get(f"{reader.url}/data/generations.json", headers={"authorization": given.encode("latin-1")})

    assert answer.status_code == 401


def volume_of(folder: Path) -> dict[str, str]:
    (folder / "dbt_project.yml").write_text("name: shop")
    return {"DUCKDB_PATH": str(folder / "work" / "warehouse.duckdb"), "DBT_PROJECT_DIR": str(folder)}


def test_without_a_login_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    given = volume_of(tmp_path)

    assert [settings.from_environment(host, given).login for host in ("127.0.0.1", "::1", "localhost")] == [None] * 3
    for host in ("0.0.0.0", "::", "10.0.0.1", "reader"):  # noqa: S104
        with pytest.raises(SettingsError, match="DBTPOD_READER_AUTH is not set"):
            settings.from_environment(host, given)
    assert settings.from_environment("::", given | {"DBTPOD_READER_AUTH": "a:b"}).login == "a:b"


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    wrong = {
        "DBTPOD_READER_PATH": "reader/../x",
        "DBTPOD_READER_AUTH": "anna",
        "DBTPOD_READER_DOWNLOADS": "0",
        "DBTPOD_READER_TABLE_MB": "many",
        "DBTPOD_PUBLISH": "false",
    }

    with pytest.raises(SettingsError) as refused:
        settings.from_environment("127.0.0.1", volume_of(tmp_path) | wrong)

    assert [name for name in wrong if name not in str(refused.value)] == []
