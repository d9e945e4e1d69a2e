"""A dbt that takes one command after another from standard input: the process of `kept`, run by path.

    {"args": [...], "environment": {...}, "folder": "...", "token": "..."}

is one line, and one command. At its end the token is printed, with the exit code; where it is empty, the process ends
with that code. Only what dbt supports is used: its command line, called in Python.
"""

import json
import os
import sys

# What dbt's import adds to the environment: the variables of a file `.env` beside the project.
_added: dict[str, str] = {}


def main(executable: str) -> None:
    """Run what comes; nothing more, and the process ends."""
    # dbt has no input, as in each of its processes.
    requests = os.fdopen(os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for line in requests:
        _run(executable, **json.loads(line))


def _run(executable: str, args: list[str], environment: dict[str, str], folder: str, token: str) -> None:
    os.environ.clear()
    os.environ.update(_added | environment)
    os.chdir(folder)
    # As of the executable, whose words dbt notes in its artifacts.
    sys.argv = [executable, *args]
    try:
        from dbt.cli.main import cli
    except ImportError:  # of a dbt that is no Python
        os.execv(executable, sys.argv)  # noqa: S606
    _added.update({name: value for name, value in os.environ.items() if name not in environment})
    if not token:
        sys.exit(cli.main(args, prog_name="dbt"))
    try:
        cli.main(args, prog_name="dbt")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    sys.stderr.flush()
    print(token, code, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
