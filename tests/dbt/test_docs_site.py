"""dbt docs of a generation, beside what dbt itself makes of the same project, and in a browser."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import chromium
import documented
from dbtpod.docs import make, site, tables
from documented import Documented

pytestmark = pytest.mark.xdist_group("documented")


@pytest.fixture(scope="module")
def page(shop: Documented, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "docs.html"
    make.make(make.DOCS, shop.generation.database, path)
    return path


def catalog(shop: Documented) -> dict[str, Any]:
    database = shop.generation.database
    manifest = site.read(database.with_name("manifest.json").read_bytes())
    return site.catalog(manifest, tables.read(database), shop.generation.at)


@pytest.mark.soak
def test_the_catalog_is_that_of_dbt_docs_generate(shop: Documented, tmp_path: Path) -> None:
    documented.check_out(shop)
    documented.dbt(shop.kept, shop.project, tmp_path, "docs", "generate")
    theirs = json.loads((tmp_path / "catalog.json").read_text())

    ours = catalog(shop)

    assert len(ours["nodes"]) > 15 and ours["sources"].keys() == {"source.shop.raw.payments"}
    for kind in ("nodes", "sources"):
        assert {name: {**node, "stats": 0} for name, node in ours[kind].items()} == {
            name: {**node, "stats": 0} for name, node in theirs[kind].items()
        }
    assert "The key." in ours["nodes"]["model.shop.stg_orders"]["columns"]["order_id"]["comment"]
    assert ours["metadata"]["dbt_version"] == theirs["metadata"]["dbt_version"]
    assert ours["metadata"].keys() <= theirs["metadata"].keys()


def test_dbt_itself_can_read_the_catalog(shop: Documented) -> None:
    from dbt.artifacts.schemas.catalog import CatalogArtifact

    ours = json.loads(json.dumps(catalog(shop)))

    jsonschema.validate(ours, CatalogArtifact.json_schema())
    assert CatalogArtifact.from_dict(ours).nodes["seed.shop.raw_orders"].stats["num_rows"].value == 3


def test_the_page_is_that_of_dbt_with_the_same_manifest(shop: Documented, page: Path) -> None:
    text = page.read_text()
    manifest = json.loads(shop.generation.database.with_name("manifest.json").read_text())

    before, _, after = site.index().decode().partition('"MANIFEST.JSON INLINE DATA"')
    assert text.startswith(before)
    embedded, end = json.JSONDecoder().raw_decode(text, len(before))
    assert embedded == manifest
    between = after.partition('"CATALOG.JSON INLINE DATA"')
    assert text[end:].startswith(between[0])
    found, end = json.JSONDecoder().raw_decode(text, end + len(between[0]))
    assert found == catalog(shop)
    assert text[end:] == between[2]


def test_the_index_is_found_without_importing_dbt() -> None:
    code = "import sys; from dbtpod.docs import site; site.index(); print([n for n in sys.modules if n[:4] == 'dbt.'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_a_browser_shows_a_model_whose_description_would_end_the_script(page: Path) -> None:
    shown = chromium.dom(f"{page.as_uri()}#!/model/model.shop.stg_orders")

    assert "<title>dbt Docs</title>" in shown
    body = shown[shown.index("<body") :]
    assert "&lt;/script&gt;&lt;script&gt;document.title = 'broken out'" in body
    for text in ("double_amount", "INTEGER", "# Rows", "warehouse.main.stg_orders"):
        assert text in body


def test_a_browser_shows_a_description_that_is_the_text_that_dbt_replaces(page: Path) -> None:
    shown = chromium.dom(f"{page.as_uri()}#!/model/model.shop.unioned")

    assert "CATALOG.JSON INLINE DATA" in shown[shown.index("<body") :]
