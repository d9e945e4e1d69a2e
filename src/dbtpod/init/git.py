"""The git repository around a folder, where there is one, and git's merge of three texts."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dbtpod.errors import SettingsError


@dataclass(frozen=True)
class Merged:
    """The text, and how many conflicts git's marks show in it."""

    text: str
    conflicts: int


def place(folder: Path) -> PurePosixPath | None:
    """Say where in its repository a folder is, "." for its root; None where there is no repository."""
    for root in (folder, *folder.parents):
        if (root / ".git").exists():
            return PurePosixPath(folder.relative_to(root).as_posix())
    return None


def main_branch(folder: Path) -> str:
    """Name the branch that the remote's HEAD is, else the one that is checked out, else main."""
    for reference in ("refs/remotes/origin/HEAD", "HEAD"):
        try:
            done = _git(["symbolic-ref", "--quiet", "--short", reference], folder)
        except FileNotFoundError:
            break
        if branch := done.stdout.decode(errors="replace").strip():
            return branch.removeprefix("origin/")
    return "main"


def leaves_out(folder: Path) -> bool:
    """Say whether .gitignore leaves this folder out of the repository, and nothing in it was added all the same."""
    # A pattern such as `dbt_packages/` is one for folders, which this may become.
    ignored = ["check-ignore", "--quiet", f"{folder}/"]
    try:
        return (
            _git(ignored, folder.parent).returncode == 0 and not _git(["ls-files", folder.name], folder.parent).stdout
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


def merge(yours: str, base: str, theirs: str, names: Sequence[str]) -> Merged:
    """Bring the changes from `base` to `theirs` into `yours`; the three names stand beside the marks of a conflict.

    Lines end as they do in `yours`. It needs git, but no repository.
    """
    if "\r\n" in yours:
        base, theirs = (text.replace("\n", "\r\n") for text in (base, theirs))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("yours", "base", "theirs")]
        for file, text in zip(files, (yours, base, theirs), strict=True):
            file.write_bytes(text.encode())
        labels = [word for name in names for word in ("-L", name)]
        try:
            done = _git(["merge-file", "--stdout", "--quiet", *labels, *map(str, files)], Path(folder))
        except FileNotFoundError as error:
            raise SettingsError("`dbtpod init --update` merges with git, which is not on PATH: install it.") from error
    # The exit code is the number of conflicts, up to 127.
    if not 0 <= done.returncode <= 127:
        raise SettingsError(f"git merge-file failed: {done.stderr.decode(errors='replace').strip()}")
    return Merged(done.stdout.decode(), done.returncode)


def _git(words: Sequence[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, check=False)  # noqa: S607
