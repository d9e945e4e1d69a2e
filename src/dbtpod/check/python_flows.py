"""The dbt commands in the Python of flows, where they are written out: read from the source, which is not run."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from dbtpod.check.finding import Finding
from dbtpod.check.selection import Use
from dbtpod.dbt import arguments
from dbtpod.errors import SettingsError
from dbtpod.registration.entrypoints import did_you_mean

_RUN = "run_dbt"
_OPTIONS = ("retries", "retry_delay_seconds", "result", "continues")


def read(entrypoints: Iterable[str], folder: Path) -> Iterator[Use | Finding]:
    """Yield the commands that the files of these entrypoints give to `run_dbt`, and how they are written wrong."""
    files = {entrypoint.rpartition(":")[0] for entrypoint in entrypoints if ":" in entrypoint}
    for file in sorted(files):
        try:
            module = ast.parse((folder / file).read_text(encoding="utf-8"), file)
        except (OSError, SyntaxError, ValueError):  # said of the entrypoint
            continue
        for call in _calls(module):
            yield from _read(call, Path(file))


def _calls(module: ast.Module) -> Iterator[ast.Call]:
    names = {
        alias.asname or alias.name
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and node.module in ("dbtpod", "dbtpod.run")
        for alias in node.names
        if alias.name == _RUN
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            function = node.func
            is_name = isinstance(function, ast.Name) and function.id in names
            if is_name or (isinstance(function, ast.Attribute) and function.attr == _RUN):
                yield node


def _read(call: ast.Call, file: Path) -> Iterator[Use | Finding]:
    for keyword in call.keywords:
        if keyword.arg and keyword.arg not in _OPTIONS:
            near = did_you_mean(keyword.arg, _OPTIONS)
            yield Finding(file, call.lineno, f"{_RUN}() has no parameter {keyword.arg!r}{near}")
    if not call.args:
        yield Finding(file, call.lineno, f'{_RUN}() needs a dbt command, such as {_RUN}("build")')
    for argument in call.args:
        written = _literal(argument)
        if written is None:
            continue
        try:
            words = arguments.split(written)
        except SettingsError as error:
            yield Finding(file, argument.lineno, f"{_RUN}(): {error}")
            continue
        if words:
            yield Use(tuple(words), file, argument.lineno, f"{_RUN} is given")
        else:
            yield Finding(file, argument.lineno, f'{_RUN}(): a command is empty; write one such as "build"')


def _literal(node: ast.expr) -> str | list[str] | None:
    """Return a command that is written out; None where only a run would show it."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.List | ast.Tuple):
        words = [_literal(each) for each in node.elts]
        return [word for word in words if isinstance(word, str)] if all(isinstance(w, str) for w in words) else None
    return None
