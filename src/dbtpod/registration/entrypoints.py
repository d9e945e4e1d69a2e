"""What an entrypoint such as flows/flows.py:dbt_build names, read from the source without running it."""

import ast
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Flow:
    """A flow as its source declares it; name and parameters are None where only running the file would show them."""

    name: str | None
    parameters: frozenset[str] | None


def find(entrypoint: str, folder: Path) -> Flow | str:
    """Find the flow in its file under `folder`, or say what is wrong and what to write.

    >>> find("flows.py", Path("/opt/dbtpod"))
    'write it as path/to/file.py:function'
    """
    file, separator, function = entrypoint.rpartition(":")
    if not separator or not function.isidentifier():
        return "write it as path/to/file.py:function"
    if Path(file).is_absolute():
        return f"the pod has other paths than this machine: write it relative to {folder}"
    if not (folder / file).is_file():
        return f"there is no file {file} in {folder}{_meant_file(file, folder)}"
    try:
        module = ast.parse((folder / file).read_text(encoding="utf-8"), file)
    except (SyntaxError, UnicodeDecodeError) as exc:
        return f"{file} is not Python: {exc}"
    return _in_module(module, function, file)


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
    names = None if function.args.kwarg else frozenset(_argument_names(function.args))
    for decorator in function.decorator_list:
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if (call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")) == "flow":
            return Flow(_flow_name(decorator, function.name), names)
    return Flow(None, names)  # a decorator of the user's own may make a flow


def _argument_names(arguments: ast.arguments) -> Iterable[str]:
    return (argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))


def _flow_name(decorator: ast.expr, function: str) -> str | None:
    if isinstance(decorator, ast.Call):
        for keyword in decorator.keywords:
            if keyword.arg == "name":
                return str(keyword.value.value) if isinstance(keyword.value, ast.Constant) else None
    return function.replace("_", "-")  # as Prefect names it
