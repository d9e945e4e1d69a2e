"""A process of `baked_target`: runs dbt several times with one import of it, each with its own environment and output.

`python -P parse_process.py` reads JSON from standard input:

    {"runs": [{"args": [...], "environment": {...}, "output": "file", "state": "file or null"}, ...],
     "precompiled": "file or null"}

`state` is what an earlier run parsed, put where this one looks for it. The first run that fails is the last, and the
exit code is its own. With `precompiled`, what the first run compiles is kept there.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """Do what standard input says."""
    given = json.load(sys.stdin)
    for number, run in enumerate(given["runs"]):
        code = _run(run, given["precompiled"] if number == 0 else None)
        if code:
            return code
    return 0


def _run(run: dict[str, Any], precompiled_file: str | None) -> int:
    os.environ.clear()
    os.environ.update(run["environment"])
    if run["state"]:
        shutil.copy(run["state"], run["environment"]["DBT_TARGET_PATH"])
    output = os.open(run["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    try:
        if precompiled_file:
            from dbtpod.faststart import precompiled

            return precompiled.bake(Path(precompiled_file), run["args"])
        from dbt.cli.main import cli

        cli.main(run["args"], prog_name="dbt")
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
