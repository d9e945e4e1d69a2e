"""What is imported late is not there at first, and is what it always was when it is used."""

import json
import os
import subprocess
import sys
from pathlib import Path
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


def found(program: str, without: str = "") -> Any:
    """What an interpreter of its own prints as its last line, as JSON."""
    head = "import json, sys\nfrom dbtpod.faststart import later\n"
    ended = subprocess.run(
        [sys.executable, "-P", "-c", head + program],
        env={**os.environ, parts.WITHOUT: without},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


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
    program = f"{imports}\nprint(json.dumps([n for n in {modules} if type(sys.modules.get(n)) is type(sys)]))"

    assert found(program) == []
    assert found(program, without=part.name) == list(modules)


@pytest.mark.parametrize(
    ("imports", "use", "expected"),
    [
        (PREFECT, "from prefect.utilities.names import generate_slug as g; r = '-' in g(2)", True),
        (PREFECT, "from prefect.utilities import visualization as v; r = v.graphviz.Digraph('a').name", "a"),
        (PREFECT, "import prometheus_client as p; r = 'prefect' in p.generate_latest().decode()", True),
        (PREFECT, "import httpcore; r = httpcore.HTTP2Connection.READ_NUM_BYTES", 65536),
        (PREFECT, "import httpx; r = httpx.main.params[0].name", "url"),
        (PREFECT, "from slugify import slugify; r = slugify('Tëst Ω')", "test-o"),
        (
            PREFECT,
            "from prefect._internal.schemas.validators import validate_values_conform_to_schema as check\n"
            "try: check({'a': 'b'}, {'properties': {'a': {'type': 'integer'}}})\n"
            "except ValueError as error: r = 'not of type' in str(error)",
            True,
        ),
        (
            DBT,
            "from dbt_common.utils.connection import connection_exception_retry as retry\n"
            "import requests; calls = []\n"
            "def call():\n"
            "    calls.append(1)\n"
            "    if len(calls) == 1: raise requests.exceptions.ConnectTimeout('slow')\n"
            "    return len(calls)\n"
            "r = retry(call, 2)",
            2,
        ),
        (DBT, "from dbt.task import test; r = test.daff.PythonTableView([['a']]).get_width()", 1),
        (DBT, "import sys; b = sys.modules['agate.table.bar_chart']; r = type(b.leather.Chart()).__name__", "Chart"),
        (
            DBT,
            "from metricflow.converters import osi_to_msi as o; r = o._extract_agg_info('sum(a)')[0].value",
            "sum",
        ),
        (DBT, "import agate; r = issubclass(agate.AgateTestCase.mro()[1], object)", True),
        (DBT, "from agate.utils import slugify; r = slugify(['a b'])[0]", "a_b"),
        (
            DBT,
            "from dbt.contracts.graph import manifest as m, semantic_manifest as s\n"
            "r = s.SemanticManifest(m.Manifest()).validate()",
            True,
        ),
        (DBT, "import networkx as nx; r = nx.shortest_path(nx.path_graph(3), 0, 2)", [0, 1, 2]),
        (DBT, "from networkx.algorithms import community as c; r = len(c.girvan_newman.__name__)", 13),
        (DBT, "import networkx.algorithms.isomorphism as i; r = i.GraphMatcher.__name__", "GraphMatcher"),
        (DBT, "import networkx as nx; r = nx.generators.classic.path_graph(2).order()", 2),
        (DBT, "import networkx as nx; r = hasattr(nx, 'no_such_name')", False),
    ],
)
def test_what_is_left_out_is_there_when_it_is_used(imports: str, use: str, expected: object) -> None:
    assert found(f"{imports}\n{use}\nprint(json.dumps(r))") == expected


def test_networkx_has_all_its_names_once_one_of_the_rest_was_asked_for(tmp_path: Path) -> None:
    names = "print(json.dumps(sorted(n for n in dir(nx) if not n.startswith('_'))))"

    plain = found(f"import networkx as nx\n{names}")

    assert found(f"{DBT}\nimport networkx as nx\nnx.pagerank\n{names}") == plain
