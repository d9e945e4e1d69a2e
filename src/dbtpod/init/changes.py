"""What is done to the files of a repository: a new one is written, one that was written before is merged.

A file is never overwritten with less than what its user has in it, unless `--force` names it.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dbtpod.errors import SettingsError
from dbtpod.init import git
from dbtpod.init.templates import IGNORE_FILE

_ABOUT = {
    "prefect.yaml": "what runs when",
    "Dockerfile": "the image of this repository",
    IGNORE_FILE: "what stays out of it",
    "values.yaml": "what the chart is given",
}
_WORKFLOW = "checks each pull request, deploys the main branch"
_MARK = re.compile(r"^<{7} ", re.MULTILINE)
_TO_RESOLVE = "Keep what is right between <<<<<<< and >>>>>>>, and remove the marks."


@dataclass
class Changes:
    """The changes to a folder, with a line on each; a file's path is relative to the folder."""

    folder: Path
    # What was written, by its path: what the record then has.
    files: dict[str, str]
    done: list[str] = field(default_factory=list)
    # What only the user can do.
    left: list[str] = field(default_factory=list)

    def write(self, path: str, text: str, is_forced: bool = False) -> None:
        """Write a file; one that is there stays, unless it is forced."""
        file = self.folder / path
        if path == IGNORE_FILE and "Dockerfile" not in self.files and not is_forced:
            self.left.append(f"{path} is not written: it would change what your own Dockerfile is given.")
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb" if is_forced else "xb") as opened:
                opened.write(text.encode())
        except FileExistsError:
            self._leave(path, text)
            return
        except OSError as error:
            raise SettingsError(f"{file} cannot be written: {error.strerror}.") from error
        self.files[path] = text
        self.say(path, _ABOUT.get(path, _WORKFLOW))

    def _leave(self, path: str, text: str) -> None:
        file = self.folder / path
        if path in self.files:
            self.say(path, "is there already; `dbtpod init --update` brings what is new into it")
        elif file.is_file() and file.read_bytes().replace(b"\r\n", b"\n") == text.encode():
            self.files[path] = text
            self.say(path, "is there already")
        else:
            self.left.append(
                f"{path} is not from `dbtpod init` and stays as it is. Use it if `dbtpod check` finds nothing wrong "
                f"with it, or move it away and run this again, or overwrite it: dbtpod init --force {path}"
            )

    def merge(self, path: str, text: str, names: Sequence[str]) -> str | None:
        """Merge what is new into a file that was written before; None where there is nothing to write."""
        file = self.folder / path
        if not file.exists():
            self.say(path, "stays away, as you removed it")
            return None
        yours = _read(file)
        if _MARK.search(yours):
            self.left.append(f"{path} still has git's marks of an earlier update, so it was not changed. {_TO_RESOLVE}")
            return None
        merged = git.merge(yours, self.files[path], text, names)
        self.files[path] = text
        if merged.conflicts:
            count = "1 conflict" if merged.conflicts == 1 else f"{merged.conflicts} conflicts"
            self.left.append(f"{path} has {count}: you and dbtpod changed the same lines. {_TO_RESOLVE}")
        else:
            self.say(path, "nothing new" if merged.text == yours else "updated")
        return None if merged.text == yours else merged.text

    def say(self, path: str, text: str) -> None:
        """Add a line on a file."""
        self.done.append(f"  {path:<28} {text}")


def replace(file: Path, text: str) -> None:
    """Write a file as a whole: after a crash it is the old one or the new one."""
    file = file.resolve()
    fresh = file.with_name(f".{file.name}.tmp")
    try:
        fresh.write_bytes(text.encode())
        shutil.copymode(file, fresh)
        fresh.replace(file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}.") from error


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read, so nothing was changed: {error}.") from error
