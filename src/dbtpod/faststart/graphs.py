"""networkx as dbt uses it: the graph, and how to walk through it.

    graphs.import_networkx()

All else of it is imported when it is asked for, which is half of it: an import of networkx brings every algorithm.
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from dbtpod.faststart.stand_in import Package

# Of networkx.algorithms, what dbt calls, and what that calls.
_USED = ("components", "cycles", "dag", "traversal")
_REST = ("generators", "readwrite", "algorithms", "linalg", "drawing")


def import_networkx() -> None:
    """Import it, unless it is."""
    if "networkx" in sys.modules:
        return
    spec = PathFinder.find_spec("networkx")
    if spec is None:  # dbt says it
        return
    folders = spec.submodule_search_locations or []
    rest = [Package(f"networkx.{name}", [f"{folder}/{name}" for folder in folders]) for name in _REST]
    sys.modules.update({each.__name__: each for each in rest})
    networkx = import_module("networkx")
    for name in _USED:
        _add(networkx, import_module(f"networkx.algorithms.{name}"))

    say_what_is_gone = networkx.__getattr__

    def find(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        networkx.__getattr__ = say_what_is_gone  # type: ignore[method-assign]
        for each in rest:
            _add(networkx, each.real())
        return getattr(networkx, name)

    networkx.__getattr__ = find  # type: ignore[method-assign]


def _add(networkx: ModuleType, module: ModuleType) -> None:
    """Give networkx the module, and its public names, as its own import does."""
    setattr(networkx, module.__name__.rpartition(".")[2], module)
    vars(networkx).update({name: getattr(module, name) for name in _public(module)})


def _public(module: ModuleType) -> Iterator[str]:
    yield from getattr(module, "__all__", None) or (name for name in vars(module) if not name.startswith("_"))
