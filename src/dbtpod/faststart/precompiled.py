"""What dbt compiles each time it starts, compiled when the image is built: that is a third of a small build's CPU.

The project's Jinja templates become code; the JSON schemas, by which dbt checks its settings files, become data.
`python precompiled.py FILE parse …` runs that dbt command and keeps both; `use` has a dbt take them from there. The
file's first line has the versions that made it; for any other it is not used. What is not in it is compiled as ever.
"""

import json
import marshal
import os
import sys
from importlib.metadata import version
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from typing import Any

from dbtpod import settings
from dbtpod.dbt.project import MADE
from dbtpod.faststart import importing, parts

# Beside dbt's own packages, its adapters among them: what makes Python of a template, and a schema of a class.
_COMPILERS = {"jinja2", "mashumaro"}


def path(project_dir: Path) -> Path:
    """Return where the file lies in the project's folder."""
    return project_dir / MADE / "precompiled.marshal"


def import_dbt() -> None:
    """Import dbt as the preloaded one does."""
    from dbtpod.faststart import patches

    with importing.quickly():
        patches.apply_before_import()
        import dbt.cli.main  # noqa: F401


def bake(file: Path, args: list[str], known: Path | None = None) -> int:
    """Run dbt in this process, which must be new, and write the file if it ends well; dbt's exit code.

    What `known`, such a file of these versions, has is taken from there. Where dbt is not as `parts` has it, this
    process becomes the plain `dbt`, and there is no file.
    """
    from dbtpod.dbt import process

    if not (parts.PRELOAD.is_usable() and parts.TEMPLATES.is_usable() and parts.SCHEMAS.is_usable()):
        os.execv(process.executable(), ["dbt", *args])  # noqa: S606
    from dbt.cli.main import cli

    if known and is_current(known):
        use(known)
    schemas = record_schemas()
    try:
        cli.main(args, prog_name="dbt")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    if code == 0:
        templates = compiled((Path(settings.environment()["DBT_TARGET_PATH"]) / "manifest.json").read_text())
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, {"schemas": schemas, "templates": templates}, made_by())
    return code


def write(file: Path, content: dict[str, Any], versions: dict[str, str]) -> None:
    """Write the file: a line of JSON, which every Python can read, then what only some can."""
    file.write_bytes(json.dumps(versions).encode() + b"\n" + marshal.dumps(content))


def made_by() -> dict[str, str]:
    """Return the versions by which a file is valid: of Python's bytecode, of dbt with its adapters, and of ours.

    Read off the folders' names, as {"dbt-core": "1.12.6", "jinja2": "3.1.6", …}: the metadata in them takes longer.
    """
    import jinja2

    installed = Path(jinja2.__file__).parents[1].glob("*.dist-info")
    named = (folder.name.removesuffix(".dist-info").rpartition("-") for folder in installed)
    found = {name.lower().replace("_", "-"): number for name, _, number in named}
    return {
        "bytecode": f"{sys.implementation.cache_tag}-{MAGIC_NUMBER.hex()}",
        "dbtpod": version("dbtpod"),
        **{name: found[name] for name in sorted(found) if name.startswith("dbt-") or name in _COMPILERS},
    }


def compiled(manifest: str) -> dict[str, bytes]:
    """Compile the macros and the SQL of a parsed project; by their text."""
    from dbt_common.clients.jinja import get_environment
    from jinja2 import TemplateError

    parsed = json.loads(manifest)
    sources = {macro["macro_sql"] for macro in parsed["macros"].values()}
    sources |= {node["raw_code"] for node in parsed["nodes"].values() if node.get("language") == "sql"}
    environment = get_environment()
    found: dict[str, bytes] = {}
    for source in sorted(sources):
        try:
            found[source] = marshal.dumps(environment.compile(source))
        except TemplateError:  # dbt says it where it matters: a macro that is not called may be wrong
            continue
    return found


def use(file: Path) -> None:
    """Have the dbt of this process take what was compiled; nothing happens where there is no file.

    One that other versions made is left alone, and a line in the log says which.
    """
    if not file.is_file():
        return
    versions, _, content = file.read_bytes().partition(b"\n")
    if others := _others(versions):
        advice = "dbt compiles anew; `dbtpod bake` makes the file for this dbt."
        print(f"dbtpod: {file} was made by {others}: {advice}", flush=True)  # noqa: T201
        return
    found = marshal.loads(content)  # noqa: S302
    if parts.TEMPLATES.is_usable():
        _use_templates(found["templates"])
    if parts.SCHEMAS.is_usable():
        _use_schemas(found["schemas"])


def is_current(file: Path) -> bool:
    """Return whether there is a file that the versions of this process made."""
    return file.is_file() and not _others(file.read_bytes().partition(b"\n")[0])


def _others(line: bytes) -> str:
    """Say which versions made a file with that first line, where they are not those of this process."""
    try:
        made = dict(json.loads(line))
    except (ValueError, TypeError):
        return "a dbtpod that did not write down its versions"
    here = made_by()
    changed = sorted(name for name in here.keys() | made.keys() if here.get(name) != made.get(name))
    return ", ".join(f"{name} {made.get(name, 'none')} (here: {here.get(name, 'none')})" for name in changed)


def _use_templates(compiled: dict[str, bytes]) -> None:
    from dbt_common.clients import jinja

    compile_anew = jinja.MacroFuzzEnvironment.compile

    def compile_once(self: Any, source: Any, *args: Any, **options: Any) -> Any:
        # DBT_MACRO_DEBUGGING wants the Python that is made of a template.
        code = None if args or options or jinja.MACRO_DEBUGGING else compiled.get(source)
        return marshal.loads(code) if code else compile_anew(self, source, *args, **options)  # noqa: S302

    jinja.MacroFuzzEnvironment.compile = compile_once  # type: ignore[method-assign]


def _use_schemas(schemas: dict[str, Any]) -> None:
    from dbt_common.dataclass_schema import dbtClassMixin

    make_anew = dbtClassMixin.json_schema.__func__  # type: ignore[attr-defined]
    dbtClassMixin.json_schema = classmethod(lambda cls: schemas.get(_name(cls)) or make_anew(cls))  # type: ignore


def record_schemas() -> dict[str, Any]:
    """Record the schemas that dbt makes from here on, by their class."""
    from dbt_common.dataclass_schema import dbtClassMixin

    schemas: dict[str, Any] = {}
    make = dbtClassMixin.json_schema.__func__  # type: ignore[attr-defined]

    def make_and_keep(cls: Any) -> Any:
        schemas[_name(cls)] = json.loads(json.dumps(made := make(cls)))
        return made

    dbtClassMixin.json_schema = classmethod(make_and_keep)  # type: ignore
    return schemas


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


if __name__ == "__main__":
    sys.exit(bake(Path(sys.argv[1]), sys.argv[2:]))
