"""What the python models of a dbt project import, as the packages that pip installs."""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# A package is taken from this table only: under the name of a user's own module, PyPI has a stranger's.
_PACKAGES = {
    "numpy": "numpy",
    "pandas": "pandas",
    "polars": "polars",
    "pyarrow": "pyarrow",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "statsmodels": "statsmodels",
}
# In the image already.
_THERE = {"dbt", "dbtpod", "duckdb", "jinja2", "prefect", "pydantic", "requests", "yaml", *sys.stdlib_module_names}
# What makes a frame of a DuckDB relation, without any import.
_CONVERSIONS = {"df": "pandas", "fetchdf": "pandas", "to_df": "pandas", "pl": "polars", "arrow": "pyarrow"}


@dataclass(frozen=True)
class Imports:
    """What python models need beside the image: packages, and modules whose package only the user knows."""

    packages: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def imports(models: Iterable[Path]) -> Imports:
    """Read what the models import; one that is not Python is dbt's to report."""
    modules: set[str] = set()
    for model in models:
        try:
            modules |= set(_modules(ast.parse(model.read_text(encoding="utf-8"))))
        except (SyntaxError, ValueError):
            continue
    known = {name for name in modules if name in _PACKAGES}
    return Imports(tuple(sorted(_PACKAGES[name] for name in known)), tuple(sorted(modules - known - _THERE)))


def _modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.Call(func=ast.Attribute(attr=attribute)) if attribute in _CONVERSIONS:
                yield _CONVERSIONS[attribute]
