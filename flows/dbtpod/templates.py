"""dbt's Jinja templates, compiled when the image is built: a dbt that starts would spend a quarter of its CPU on that.

`python templates.py MANIFEST FILE` compiles them, in a process that imports dbt; `use` has a dbt take them from there.
The code is good for the Python that made it, and a template that is not in it is compiled as ever.
"""

import json
import marshal
import sys
from pathlib import Path
from typing import Any


def path(project_dir: Path) -> Path:
    """Return where they lie in the project's folder."""
    return project_dir / "target" / "templates.marshal"


def bake(manifest: Path, file: Path) -> None:
    """Compile the macros and the SQL of a parsed project into the file."""
    from dbt_common.clients.jinja import get_environment
    from jinja2 import TemplateError

    parsed = json.loads(manifest.read_text())
    sources = {macro["macro_sql"] for macro in parsed["macros"].values()}
    sources |= {node["raw_code"] for node in parsed["nodes"].values() if node.get("language") == "sql"}
    environment = get_environment()
    compiled: dict[str, bytes] = {}
    for source in sorted(sources):
        try:
            compiled[source] = marshal.dumps(environment.compile(source))
        except TemplateError:  # dbt says it where it matters: a macro that nobody calls may be wrong
            continue
    file.write_bytes(marshal.dumps(compiled))


def use(file: Path) -> None:
    """Have the dbt of this process take what was compiled; nothing happens where there is no file, or another dbt."""
    if not file.is_file():
        return
    try:
        from dbt_common.clients import jinja

        compile_anew = jinja.MacroFuzzEnvironment.compile
    except (ImportError, AttributeError):
        return
    compiled: dict[str, bytes] = marshal.loads(file.read_bytes())  # noqa: S302

    def compile_once(self: Any, source: Any, *args: Any, **options: Any) -> Any:
        # DBT_MACRO_DEBUGGING wants the Python that is made of a template.
        code = None if args or options or jinja.MACRO_DEBUGGING else compiled.get(source)
        return marshal.loads(code) if code else compile_anew(self, source, *args, **options)  # noqa: S302

    jinja.MacroFuzzEnvironment.compile = compile_once  # type: ignore[method-assign]


if __name__ == "__main__":
    bake(Path(sys.argv[1]), Path(sys.argv[2]))
