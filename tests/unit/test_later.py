"""What is imported late is not there at first, and is what it always was when it is used."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from dbtpod.faststart import later, parts

PREFECT = """
with later.of_prefect():
    from dbtpod.faststart import supervise
"""
DBT = """
with later.of_dbt():
    import dbt.task.build, dbt.cli.main
"""
GRAPHS = ("networkx.generators", "networkx.readwrite", "networkx.drawing", "networkx.algorithms.flow")
# What gives `r`, each in a process of its own, and what that is.
USES_OF_PREFECT = {
    "from prefect.utilities.names import generate_slug as g; r = '-' in g(2)": True,
    "from prefect.utilities import visualization as v; r = v.graphviz.Digraph('a').name": "a",
    "import prometheus_client as p; r = 'prefect' in p.generate_latest().decode()": True,
    "import httpcore; r = httpcore.HTTP2Connection.READ_NUM_BYTES": 65536,
    "import httpcore; r = httpcore.AsyncHTTP2Connection.READ_NUM_BYTES": 65536,
    "import httpx; r = httpx.main.params[0].name": "url",
    "from slugify import slugify; r = slugify('Tëst Ω')": "test-o",
    """
from prefect._internal.schemas.validators import validate_values_conform_to_schema as check
try:
    check({"a": "b"}, {"properties": {"a": {"type": "integer"}}})
except ValueError as error:
    r = "not of type" in str(error)
""": True,
    """
from prefect._internal.schemas.validators import validate_values_conform_to_schema as check
try:
    check({"a": "b"}, {"properties": {"a": {"$ref": "http://elsewhere/schema"}}})
except ValueError as error:
    r = "elsewhere" in str(error)
""": True,
}
USES_OF_DBT = {
    """
from dbt_common.utils.connection import connection_exception_retry as retry
import requests
calls = []

def call():
    calls.append(1)
    if len(calls) == 1:
        raise requests.exceptions.ConnectTimeout("slow")
    return len(calls)

r = retry(call, 2)
""": 2,
    "from requests.adapters import HTTPAdapter; import requests as q; r = q.adapters.HTTPAdapter is HTTPAdapter": True,
    "from dbt.task import test; r = test.daff.PythonTableView([['a']]).get_width()": 1,
    "b = sys.modules['agate.table.bar_chart']; r = type(b.leather.Chart()).__name__": "Chart",
    "import agate; r = agate.AgateTestCase.assertRows.__name__": "assertRows",
    "from agate.utils import slugify; r = slugify(['a b'])[0]": "a_b",
    "from metricflow.converters import osi_to_msi as o; r = o._extract_agg_info('sum(a)')[0].value": "sum",
    """
from dbt.contracts.graph import manifest as m, semantic_manifest as s
r = s.SemanticManifest(m.Manifest()).validate()
""": True,
    "import networkx as nx; r = nx.shortest_path(nx.path_graph(3), 0, 2)": [0, 1, 2],
    "from networkx.algorithms import community as c; r = len(c.girvan_newman.__name__)": 13,
    "import networkx.algorithms.isomorphism as i; r = i.GraphMatcher.__name__": "GraphMatcher",
    "import networkx as nx; r = nx.generators.classic.path_graph(2).order()": 2,
    "import networkx as nx; r = hasattr(nx, 'no_such_name')": False,
}
NAMES = "r = sorted(name for name in dir(nx) if not name.startswith('_'))"


def found(imports: str, *uses: str, without: str = "") -> list[Any]:
    """What each of them gives in a process that has imported that and nothing else."""
    program = f"""
import json, os, sys
from dbtpod.faststart import later
{imports}
for use in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if not os.fork():
        exec(use)
        print("found", json.dumps(r), flush=True)
        os._exit(0)
    os.wait()
"""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", program, json.dumps(uses)],
        env={**os.environ, parts.WITHOUT: without},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    given = [json.loads(line.partition(" ")[2]) for line in ended.stdout.splitlines() if line.startswith("found ")]
    assert (ended.returncode, len(given)) == (0, len(uses)), ended.stderr
    return given


@pytest.mark.parametrize(
    ("imports", "part", "modules"),
    [
        (PREFECT, parts.LATE_IMPORTS, (*later.OF_PREFECT, "text_unidecode")),
        (DBT, parts.LATE_IMPORTS_DBT, (*later.OF_DBT, *GRAPHS)),
    ],
    ids=["prefect", "dbt"],
)
def test_an_import_leaves_out_what_it_would_import(imports: str, part: parts.Part, modules: tuple[str, ...]) -> None:
    # What stands in for a module is of a class of its own.
    those = f"r = [name for name in {modules} if type(sys.modules.get(name)) is type(sys)]"

    assert found(imports, those) == [[]]
    assert found(imports, those, without=part.name) == [list(modules)]


@pytest.mark.parametrize(("imports", "uses"), [(PREFECT, USES_OF_PREFECT), (DBT, USES_OF_DBT)], ids=["prefect", "dbt"])
def test_what_is_left_out_is_there_when_it_is_used(imports: str, uses: dict[str, object]) -> None:
    assert dict(zip(uses, found(imports, *uses), strict=True)) == uses


def test_networkx_has_all_its_names_once_one_of_the_rest_was_asked_for() -> None:
    plain = found("import networkx as nx", NAMES)

    assert found(f"{DBT}\nimport networkx as nx", f"nx.pagerank\n{NAMES}") == plain
