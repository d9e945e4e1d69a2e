"""What `dbtpod init` wrote, kept in the repository: by it, an update tells a user's edits from the template's changes.

The texts themselves, and not only the version of the templates: no old template has to be kept, and an update works
from any version to any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dbtpod.errors import SettingsError
from dbtpod.init.templates import Choices

FILE = ".dbtpod-init.yaml"
_HEAD = """\
# What `dbtpod init` wrote, for `dbtpod init --update` to tell your edits from its own. Commit it, and do not edit it.
"""


@dataclass(frozen=True)
class Record:
    """What was decided, and the text of each file as it was written, by its path from the repository's folder."""

    choices: Choices
    files: Mapping[str, str] = field(default_factory=dict)


def read(folder: Path) -> Record | None:
    """Read the record of a repository; None where there is none, SettingsError where it is not one."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        files = dict(content.pop("files"))
        return Record(Choices(**content), files)
    except (UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{file} is not as `dbtpod init` wrote it: take it from your last commit.") from error


def write(folder: Path, kept: Record) -> None:
    """Write the record of a repository."""
    content = {**vars(kept.choices), "files": dict(kept.files)}
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    (folder / FILE).write_text(_HEAD + text, encoding="utf-8")


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are."""


def _written(dumper: yaml.SafeDumper, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _written)
