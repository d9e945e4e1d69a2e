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
from importlib import import_module
from types import ModuleType
from typing import Any

from dbtpod.faststart import graphs, parts

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
    letters = _Module("text_unidecode")
    # The names of Prefect's own blocks, which are looked at as they are imported.
    letters.unidecode = lambda text: text if text.isascii() else letters.real().unidecode(text)  # type: ignore[attr-defined]
    with _standing_in([letters, *map(_Module, OF_PREFECT)]):
        yield


@contextmanager
def of_dbt() -> Iterator[None]:
    """Enclose the import of dbt."""
    if not parts.LATE_IMPORTS_DBT.is_usable():
        yield
        return
    graphs.import_networkx()
    with _standing_in(map(_Module, OF_DBT)):
        yield


@contextmanager
def _standing_in(modules: Iterable["_Module"]) -> Iterator[None]:
    fresh = [each for each in modules if each.__name__ not in sys.modules]
    sys.modules.update({each.__name__: each for each in fresh})
    try:
        yield
    finally:
        for each in fresh:
            each.imports_end()


class _Module(ModuleType):
    """Stands in for the module of its name, for those that import it before `imports_end`."""

    _is_standing_in = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # of the module as such, which the import system asks for
            raise AttributeError(name)
        return _Name(self, name) if self._is_standing_in else getattr(self.real(), name)

    def imports_end(self) -> None:
        """Be the module itself, from here on, for those that have this one."""
        self._is_standing_in = False
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]

    def real(self) -> ModuleType:
        """Import the module."""
        if self._is_standing_in:
            self.imports_end()
        return import_module(self.__name__)


class _Name:
    """Stands in for a function or class of a module."""

    def __init__(self, module: _Module, name: str) -> None:
        self._module, self._name = module, name

    def __call__(self, *args: Any, **options: Any) -> Any:
        return getattr(self._module.real(), self._name)(*args, **options)

    def __getitem__(self, types: Any) -> Any:
        return getattr(self._module.real(), self._name)[types]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(getattr(self._module.real(), self._name), name)
