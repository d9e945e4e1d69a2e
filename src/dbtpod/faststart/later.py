"""What Prefect and dbt import for rare cases, put off until something of it is used: less memory, a shorter import.

    with later.of_prefect():
        from dbtpod.faststart import supervise

A module stands in for each that is named here. A name that is imported from it stands in for a function or class, which
may be called, or asked for its attributes. So no class that others derive from can be of a module that is named here,
and no module below it may be imported: an adapter's client does that, so adapters are imported afterwards.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from dbtpod.faststart import graphs, parts
from dbtpod.faststart.stand_in import Module

OF_PREFECT = (
    "coolname",  # a run's name, where the server gave none
    "graphviz",  # to draw a flow
    "httpcore._async.http2",
    "httpcore._sync.http2",
    "httpx._main",  # a command line
    "jsonschema",  # a deployment's parameters, as all below
    "prometheus_client.exposition",  # metrics for a server that asks
    "referencing",
    "referencing.exceptions",
)
OF_DBT = (
    "agate.testcase",  # tests of tables
    "daff",  # a unit test's difference
    "leather",  # a table's chart
    "metricflow.converters.expression_utils",  # a file of the Open Semantic Interchange
    "metricflow_semantic_interfaces.validations.semantic_manifest_validator",  # a parse of all
    "requests",  # tracking, packages
    "slugify",  # names of a table's columns
)


@contextmanager
def of_prefect() -> Iterator[None]:
    """Enclose the import of Prefect."""
    if not parts.LATE_IMPORTS.is_usable():
        yield
        return
    letters = Module("text_unidecode")
    # The names of Prefect's own blocks, which are looked at as they are imported.
    letters.unidecode = lambda text: text if text.isascii() else letters.real().unidecode(text)  # type: ignore[attr-defined]
    with _standing_in([letters, *map(Module, OF_PREFECT)]):
        yield


@contextmanager
def of_dbt() -> Iterator[None]:
    """Enclose the import of dbt."""
    if not parts.LATE_IMPORTS_DBT.is_usable():
        yield
        return
    graphs.import_networkx()
    with _standing_in(map(Module, OF_DBT)):
        yield


@contextmanager
def _standing_in(modules: Iterable[Module]) -> Iterator[None]:
    fresh = [each for each in modules if each.__name__ not in sys.modules]
    sys.modules.update({each.__name__: each for each in fresh})
    try:
        yield
    finally:
        for each in fresh:
            each.imports_end()
