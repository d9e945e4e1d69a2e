"""What is wrong on the volume beside its generations: the kind of each path, who may use it, and owner.json.

Looking changes nothing. `volume` applies the fixes: some when a run starts, all of them by the command.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dbtpod.warehouse import database, durable, facts, working_copy
from dbtpod.warehouse.durable import access_problem
from dbtpod.warehouse.volume import Volume


@dataclass(frozen=True)
class Damage:
    """One thing that is not as it should be."""

    path: Path
    what: str
    # What the fix does, or what a person has to do where there is none.
    cure: str
    # Makes it right and says what was done; None: only a person can.
    fix: Callable[[], str] | None = None
    # A run that writes applies the fix itself when it starts, with a warning.
    by_run: bool = False
    # No run can write before it is right.
    blocks: bool = False

    @property
    def line(self) -> str:
        """All of it, on one line."""
        return f"{self.path} {self.what}. {self.cure}"


def kinds(volume: Volume) -> Iterator[Damage]:
    """Find what is not the kind of thing that belongs there, or may not be used."""
    for path in (volume.published, volume.previews, volume.work, volume.runs, volume.aside):
        yield from _kind(volume, path, "folder", durable.is_folder(path), os.R_OK | os.W_OK | os.X_OK)
    for path in (volume.lock, volume.database, database.wal(volume.database)):
        yield from _kind(volume, path, "file", durable.is_file(path), os.R_OK | os.W_OK)


def renames(volume: Volume) -> Iterator[Damage]:
    """Find what stands against publishing a build by a rename."""
    for path in (volume.published, volume.previews, volume.work):
        if durable.is_folder(path) and path.stat().st_dev != volume.root.stat().st_dev:
            yield Damage(
                path,
                f"is on another filesystem than {volume.root}",
                "A build is published by a rename, which needs both on one: mount one volume for all.",
                blocks=True,
            )
    path = volume.database
    if path.is_symlink() and path.is_file():
        yield Damage(
            path,
            f"is a link to {path.readlink()}, and a run would publish the link and not the data",
            f"Put the file itself there: cp --remove-destination {path.resolve()} {path}",
            blocks=True,
        )


def _kind(volume: Volume, path: Path, wanted: str, right_kind: bool, access: int) -> Iterator[Damage]:
    if not os.path.lexists(path):
        return
    if not right_kind:
        what = f"is {kind_of(path)} where a {wanted} belongs"
        if path == volume.aside:
            yield Damage(path, what, f"Move it away: mv {path} {path}.old", blocks=True)
        else:
            yield _in_the_way(volume, path, what)
    # Of a volume that is read-only here a writing run says so itself, at its start.
    elif not _is_read_only(path) and (problem := access_problem(path, access)):
        yield Damage(path, "may not be used", problem, blocks=True)


def _in_the_way(volume: Volume, path: Path, what: str) -> Damage:
    return Damage(
        path,
        what,
        f"Repair moves it to {volume.aside}.",
        lambda: f"{path} {what}: moved to {volume.set_aside(path)}.",
        blocks=True,
    )


def kind_of(path: Path) -> str:
    """Say in words what is there."""
    if path.is_symlink():
        return f"a link to {path.readlink()}"
    return "a folder" if path.is_dir() else "a file" if path.is_file() else "a device, a pipe or a socket"


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def owner(volume: Volume) -> Iterator[Damage]:
    """Find a working copy of which it is not known whose it is."""
    path = volume.owner
    _, damage = facts.owner(path)
    if damage and durable.is_folder(path.parent):
        yield Damage(
            path,
            f"{damage}, so the run of this working copy is not known",
            f"The next run that builds moves both to {volume.aside} and makes a new working copy.",
            lambda: f"{path} {damage}. {working_copy.set_aside(volume)}",
            by_run=True,
            blocks=True,
        )
