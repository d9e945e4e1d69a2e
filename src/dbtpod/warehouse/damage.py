"""What is wrong on the volume beside its generations: the kind of each path, who may use it, and owner.json.

Looking changes nothing. `volume` applies the fixes: some when a run starts, all of them by the command.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dbtpod.settings import Settings, access_problem
from dbtpod.warehouse import checkout, database, durable, facts


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


def kinds(settings: Settings) -> Iterator[Damage]:
    """Find what is not the kind of thing that belongs there, or may not be used."""
    work = settings.duckdb_path.parent
    for path in (settings.published_dir, work, settings.runs_dir, settings.set_aside_dir):
        yield from _kind(settings, path, "folder", durable.is_folder(path), os.R_OK | os.W_OK | os.X_OK)
    for path in (settings.published_dir, work):
        if durable.is_folder(path) and path.stat().st_dev != settings.volume.stat().st_dev:
            yield Damage(
                path,
                f"is on another filesystem than {settings.volume}",
                "A build is published by a rename, which needs both on one: mount one volume for all.",
                blocks=settings.publish,
            )
    for path in (settings.lock_path, settings.duckdb_path, database.wal(settings.duckdb_path)):
        yield from _kind(settings, path, "file", durable.is_file(path), os.R_OK | os.W_OK)
    if settings.publish and settings.duckdb_path.is_symlink() and settings.duckdb_path.is_file():
        yield Damage(
            settings.duckdb_path,
            f"is a link to {settings.duckdb_path.readlink()}, and a run would publish the link and not the data",
            f"Put the file itself there: cp --remove-destination {settings.duckdb_path.resolve()} "
            f"{settings.duckdb_path}",
            blocks=True,
        )


def _kind(settings: Settings, path: Path, wanted: str, right_kind: bool, access: int) -> Iterator[Damage]:
    if not os.path.lexists(path):
        return
    if not right_kind:
        what = f"is {kind_of(path)} where a {wanted} belongs"
        if path == settings.set_aside_dir:
            yield Damage(path, what, f"Move it away: mv {path} {path}.old", blocks=True)
        else:
            yield _in_the_way(settings, path, what)
    # Of a volume that is read-only here a writing run says so itself, at its start.
    elif not _is_read_only(path) and (problem := access_problem(path, access)):
        yield Damage(path, "may not be used", problem, blocks=True)


def _in_the_way(settings: Settings, path: Path, what: str) -> Damage:
    return Damage(
        path,
        what,
        f"Repair moves it to {settings.set_aside_dir}.",
        lambda: f"{path} {what}: moved to {durable.set_aside(settings, path)}.",
        blocks=True,
    )


def kind_of(path: Path) -> str:
    """Say in words what is there."""
    if path.is_symlink():
        return f"a link to {path.readlink()}"
    return "a folder" if path.is_dir() else "a file" if path.is_file() else "a device, a pipe or a socket"


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def owner(settings: Settings) -> Iterator[Damage]:
    """Find a working copy of which it is not known whose it is."""
    path = settings.owner_path
    _, damage = facts.owner(path)
    if damage and durable.is_folder(path.parent):
        yield Damage(
            path,
            f"{damage}, so the run of this working copy is not known",
            f"The next run that builds moves both to {settings.set_aside_dir} and makes a new working copy.",
            lambda: f"{path} {damage}. {checkout.set_aside(settings)}",
            by_run=True,
            blocks=True,
        )
