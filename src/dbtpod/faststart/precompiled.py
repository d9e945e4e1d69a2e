"""What dbt compiles each time it starts, compiled when the image is built: that is a third of a small build's CPU.

The project's Jinja templates become code; the JSON schemas, by which dbt checks its settings files, become data.
`python precompiled.py FILE parse …` runs that dbt command and keeps both; `use` has a dbt take them from there. The
file is good for the Python and the dbt that made it, and what is not in it is compiled as ever.
"""

import json
import marshal
import sys
from pathlib import Path
from typing import Any

from dbtpod import settings


def path(project_dir: Path) -> Path:
    """Return where the file lies in the project's folder."""
    return project_dir / "target" / "precompiled.marshal"


def bake(file: Path, args: list[str]) -> int:
    """Run dbt in this process, which must be new, and write the file if it ends well; dbt's exit code."""
    from dbt.cli.main import cli

    schemas = record_schemas()
    try:
        cli.main(args, prog_name="dbt")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    if code == 0:
        templates = compiled((Path(settings.environment()["DBT_TARGET_PATH"]) / "manifest.json").read_text())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(marshal.dumps({"schemas": schemas, "templates": templates}))
    return code


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
    """Have the dbt of this process take what was compiled; nothing happens where there is no file, or another dbt."""
    if not file.is_file():
        return
    found = marshal.loads(file.read_bytes())  # noqa: S302
    _use_templates(found["templates"])
    _use_schemas(found["schemas"])


def _use_templates(compiled: dict[str, bytes]) -> None:
    try:
        from dbt_common.clients import jinja

        compile_anew = jinja.MacroFuzzEnvironment.compile
    except (ImportError, AttributeError):
        return

    def compile_once(self: Any, source: Any, *args: Any, **options: Any) -> Any:
        # DBT_MACRO_DEBUGGING wants the Python that is made of a template.
        code = None if args or options or jinja.MACRO_DEBUGGING else compiled.get(source)
        return marshal.loads(code) if code else compile_anew(self, source, *args, **options)  # noqa: S302

    jinja.MacroFuzzEnvironment.compile = compile_once  # type: ignore[method-assign]


def _use_schemas(schemas: dict[str, Any]) -> None:
    try:
        from dbt_common.dataclass_schema import dbtClassMixin

        make_anew = dbtClassMixin.json_schema.__func__  # type: ignore[attr-defined]
    except (ImportError, AttributeError):
        return
    dbtClassMixin.json_schema = classmethod(lambda cls: schemas.get(_name(cls)) or make_anew(cls))  # type: ignore


def record_schemas() -> dict[str, Any]:
    """Return the schemas that dbt makes from here on, by their class."""
    schemas: dict[str, Any] = {}
    try:
        from dbt_common.dataclass_schema import dbtClassMixin

        make = dbtClassMixin.json_schema.__func__  # type: ignore[attr-defined]
    except (ImportError, AttributeError):
        return schemas

    def make_and_keep(cls: Any) -> Any:
        schemas[_name(cls)] = json.loads(json.dumps(made := make(cls)))
        return made

    dbtClassMixin.json_schema = classmethod(make_and_keep)  # type: ignore
    return schemas


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


if __name__ == "__main__":
    sys.exit(bake(Path(sys.argv[1]), sys.argv[2:]))
