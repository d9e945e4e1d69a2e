"""What an entrypoint such as flows/flows.py:dbt_build names, read from the source without running it.

A flow that is installed, such as a ready flow, is named by its module: dbtpod.flows.commands.
"""

import ast
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

# Runs the commands that the deployment's parameters name.
READY = "dbtpod.flows.commands"
# Runs what a form asks for.
ASKED = "dbtpod.flows.run"
# Builds what has new data.
FRESHER = "dbtpod.fresher.build_if_fresher"


@dataclass(frozen=True)
class Flow:
    """A flow as its source declares it; a field is None where only running the file would show it."""

    name: str | None
    parameters: frozenset[str] | None
    # Those of them without a default value.
    required: frozenset[str] = frozenset()


def find(entrypoint: str, folder: Path) -> Flow | str:
    """Find the flow in its file under `folder`, or among what is installed; or say what is wrong and what to write.

    >>> find("flows.py:", Path("/opt/dbtpod"))
    'write it as path/to/file.py:function'
    """
    if ":" not in entrypoint:
        return _installed(entrypoint)
    file, _, function = entrypoint.rpartition(":")
    if not function.isidentifier():
        return "write it as path/to/file.py:function"
    if Path(file).is_absolute():
        return f"the pod has other paths than this machine: write it relative to {folder}"
    if not file.endswith(".py") and isinstance(_installed(f"{file}.{function}"), Flow):
        return f"name an installed flow with a dot: {file}.{function}"
    if not (folder / file).is_file():
        return f"there is no file {file} in {folder}{_meant_file(file, folder)}"
    return _in_file(folder / file, function, file)


def _installed(entrypoint: str) -> Flow | str:
    module, _, function = entrypoint.rpartition(".")
    try:
        found = module and find_spec(module)
    except (ImportError, ValueError):
        found = None
    if not found or not found.origin:
        near = did_you_mean(entrypoint, [READY, ASKED, FRESHER])
        return (
            f"no module {module or entrypoint!r} is installed: write it as path/to/file.py:function, or {READY}{near}"
        )
    return _in_file(Path(found.origin), function, module)


def _in_file(path: Path, function: str, shown: str) -> Flow | str:
    try:
        module = ast.parse(path.read_text(encoding="utf-8"), shown)
    except (OSError, SyntaxError, ValueError) as exc:
        return f"{shown} is not Python: {exc}"
    return _in_module(module, function, shown)


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Ask whether the nearest known word was meant; empty where none is near.

    >>> did_you_mean("entrypiont", ["name", "entrypoint"])
    "; did you mean 'entrypoint'?"
    """
    near = difflib.get_close_matches(str(value), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def _meant_file(file: str, folder: Path) -> str:
    near = (path.relative_to(folder).as_posix() for path in folder.glob("*/*.py"))
    return did_you_mean(file, near)


def _in_module(module: ast.Module, function: str, file: str) -> Flow | str:
    """Find what the module binds to that name, at its top level."""
    names: set[str] = set()
    for node in module.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                bound = {node.name}
            case ast.Assign():
                bound = {target.id for target in node.targets if isinstance(target, ast.Name)}
            case ast.Import() | ast.ImportFrom():
                bound = {(alias.asname or alias.name) for alias in node.names}
            case _:
                continue
        names |= bound
        if function in bound:
            return _declared(node, file) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else _UNKNOWN
    return f"{file} has no function {function!r}{did_you_mean(function, names)}"


# A flow that was assigned or imported: it exists, its declaration is elsewhere.
_UNKNOWN = Flow(None, None)


def _declared(function: ast.FunctionDef | ast.AsyncFunctionDef, file: str) -> Flow | str:
    """Read the flow from its decorator and its arguments."""
    if not function.decorator_list:
        return f"{function.name} in {file} is not a flow: write @flow above it"
    names = None if function.args.kwarg else frozenset(_names(function.args))
    for decorator in function.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if (call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")) == "flow":
            return Flow(_flow_name(decorator, function.name), names, frozenset(_required(function.args)))
    return Flow(None, names)  # a decorator of the user's own may make a flow


def _names(arguments: ast.arguments) -> list[str]:
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def _required(arguments: ast.arguments) -> list[str]:
    positional = [*arguments.posonlyargs, *arguments.args]
    by_place = positional[: len(positional) - len(arguments.defaults)]
    by_name = [a for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    return [argument.arg for argument in (*by_place, *by_name)]


def _flow_name(decorator: ast.expr, function: str) -> str | None:
    if isinstance(decorator, ast.Call):
        for keyword in decorator.keywords:
            if keyword.arg == "name":
                return str(keyword.value.value) if isinstance(keyword.value, ast.Constant) else None
    return function.replace("_", "-")  # as Prefect names it
