"""dbt as a program with our patches: `python patched.py FILE ARGS…` does what `dbt ARGS…` does, for a third less CPU.

FILE has what dbt compiled before (`precompiled`). Where it is not there, this command writes it, once it has ended.
"""

import gc
import marshal
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dbtpod.dbt import process
from dbtpod.faststart import patches, precompiled
from dbtpod.settings import environment


def launcher(folder: Path) -> Callable[[Sequence[str], Mapping[str, str], Path], process.Running]:
    """Give `process.launch_by` a dbt that keeps what it compiles in the folder, by the dbt and the Python it is for."""
    file = folder / f"{sys.implementation.cache_tag}-dbt-{version('dbt-core')}.marshal"

    def launch(args: Sequence[str], environment: Mapping[str, str], project: Path) -> process.Running:
        # -P: or the folder of this file comes first on the path, where modules such as `engine` would hide others.
        return process.Program([sys.executable, "-P", __file__, str(file), *args], environment, project)

    return launch


def main(file: Path, args: Sequence[str]) -> int:
    """Run one dbt command in this process; its exit code."""
    # What an import makes is there to stay: looking through it for garbage costs a tenth of the time.
    gc.disable()
    patches.apply_before_import()
    from dbt.cli.main import cli

    patches.apply()
    is_known = file.is_file()
    schemas = {} if is_known else precompiled.record_schemas()
    precompiled.use(file)
    gc.freeze()
    gc.enable()
    # As of the `dbt` executable, whose words it notes in its artifacts.
    sys.argv = ["dbt", *args]
    try:
        cli.main(list(args), prog_name="dbt")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    if not is_known:
        _keep(file, schemas)
    return code


def _keep(file: Path, schemas: dict[str, Any]) -> None:
    """Write the file for the project that dbt has parsed in this process; nothing where it has not, or may not."""
    manifest = Path(environment()["DBT_TARGET_PATH"]) / "manifest.json"
    if not manifest.is_file():
        return
    found = {"schemas": schemas, "templates": precompiled.compiled(manifest.read_text())}
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Another command may be reading it.
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        fresh.write_bytes(marshal.dumps(found))
        fresh.replace(file)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
