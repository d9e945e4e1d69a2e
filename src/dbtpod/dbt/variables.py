"""The environment variables that a project's files name, and whether their values are those of before."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_READ = re.compile(r"""\benv_var\(\s*(['"])(\w+)\1""")
# They say which pod it is, and nothing of the data.
_OF_POD = ("HOSTNAME", "POD_NAME", "DBTPOD_")


def named(text: str) -> set[str]:
    """Return the variables that a text reads.

    >>> named("select {{ env_var('RATE', '1') }} as rate")
    {'RATE'}
    """
    return {found[1] for found in _READ.findall(text) if not found[1].startswith(_OF_POD)}


def digests(files: Iterable[Path], environment: Mapping[str, str]) -> dict[str, str]:
    """Return a digest of each variable's value that one of these files reads; empty where it has none."""
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in files)
    names = {name for text in texts for name in named(text)}
    return {name: _digest(environment.get(name)) for name in sorted(names)}


def _digest(value: str | None) -> str:
    return "" if value is None else hashlib.sha256(value.encode()).hexdigest()
