"""dbt as a program with our patches: `python patched.py FILE ARGS…` does what `dbt ARGS…` does, for a third less CPU.

FILE has what dbt compiled before (`precompiled`). Where it is not there, or is of other versions, this command writes
it, once it has ended.
"""

import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dbtpod.dbt import process
from dbtpod.dbt.program import Program, Running
from dbtpod.faststart import later, parts, patches, precompiled
from dbtpod.settings import environment


def launcher(folder: Path) -> Callable[[Sequence[str], Mapping[str, str], Path], Running]:
    """Give `process.launch_by` a dbt that keeps what it compiles in the folder."""
    file = folder / "compiled.marshal"

    def launch(args: Sequence[str], environment: Mapping[str, str], project: Path) -> Running:
        # -P: or the folder of this file comes first on the path, where modules such as `engine` would hide others.
        return Program([sys.executable, "-P", __file__, str(file), *args], environment, project)

    return launch


def main(file: Path, args: Sequence[str]) -> int:
    """Run one dbt command in this process; its exit code."""
    # What an import makes is there to stay: looking through it for garbage costs a tenth of the time.
    gc.disable()
    patches.apply_before_import()
    with later.of_dbt():
        if not parts.PRELOAD.is_usable():
            os.execv(process.executable(), ["dbt", *args])  # noqa: S606
        from dbt.cli.main import cli

    patches.apply()
    is_known = precompiled.is_current(file)
    is_kept = not is_known and parts.TEMPLATES.is_usable() and parts.SCHEMAS.is_usable()
    schemas = precompiled.record_schemas() if is_kept else {}
    if is_known:
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
    if is_kept:
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
        precompiled.write(fresh, found, precompiled.made_by())
        fresh.replace(file)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
