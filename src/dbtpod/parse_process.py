"""The process of a `Parser` (baked_target): it imports dbt once, and runs it as often as it is asked to, as if alone.

Run by path. A line of JSON comes for each run, and its exit code goes back as a line:

    {"args": [...], "environment": {...}, "output": "file", "state": "file or null", "precompiled": "file or null",
     "known": "file or null"}

`state` is what an earlier run parsed, put where this one looks for it. With `precompiled`, which is for the first run
only, what dbt compiles is kept there; it takes from `known` what an earlier bake has compiled.
"""

import json
import os
import shutil
import sys
from pathlib import Path


def main() -> None:
    """Answer until there are no more lines."""
    # Not inherited: where the process becomes the plain dbt, as `precompiled.bake` may decide, it is closed.
    with os.fdopen(os.dup(1), "w") as answers:
        for line in sys.stdin:
            answers.write(f"{_run(**json.loads(line))}\n")
            answers.flush()


def _run(
    args: list[str],
    environment: dict[str, str],
    output: str,
    state: str | None,
    precompiled: str | None,
    known: str | None,
) -> int:
    os.environ.clear()
    os.environ.update(environment)
    if state:
        shutil.copy(state, environment["DBT_TARGET_PATH"])
    _print_to(output)
    try:
        return _dbt(args, precompiled, known)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _dbt(args: list[str], precompiled_file: str | None, known: str | None) -> int:
    from dbtpod.faststart import precompiled

    if "dbt.cli.main" not in sys.modules:
        precompiled.import_dbt()
        if not precompiled_file and known and precompiled.is_current(Path(known)):
            precompiled.use(Path(known))
    if precompiled_file:
        return precompiled.bake(Path(precompiled_file), args, Path(known) if known else None)
    from dbt.cli.main import cli

    cli.main(args, prog_name="dbt")
    return 0


def _print_to(file: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


if __name__ == "__main__":
    main()
