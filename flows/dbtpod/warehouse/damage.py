"""What is wrong on the volume: one look at everything that a run relies on, and what can be done about each thing.

It changes nothing itself. `volume` applies the fixes: some when a run starts, all of them by the command.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.settings import Settings, access_problem
from dbtpod.warehouse import checkout, database, durable, facts, publish, published
from dbtpod.warehouse.facts import Generation


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


def find(settings: Settings, thorough: bool) -> list[Damage]:
    """Look at the whole volume; `thorough` opens every generation in DuckDB too."""
    return [*_kinds(settings), *_owner(settings), *_published(settings, thorough)]


def _kinds(settings: Settings) -> Iterator[Damage]:
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
        what = f"is {_kind_of(path)} where a {wanted} belongs"
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


def _kind_of(path: Path) -> str:
    if path.is_symlink():
        return f"a link to {path.readlink()}"
    return "a folder" if path.is_dir() else "a file" if path.is_file() else "a device, a pipe or a socket"


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _owner(settings: Settings) -> Iterator[Damage]:
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


def _published(settings: Settings, thorough: bool) -> Iterator[Damage]:
    try:
        entries = published.entries(settings)
    except WarehouseUnusable:
        return  # of another kind, or not readable: found above
    faults = {number: _fault(settings, number, path, thorough) for number, path in entries.items()}
    whole = [number for number, one in faults.items() if not one]
    pointer = published.pointer(settings)
    for number, one in faults.items():
        if one:
            yield _broken(settings, number, one, bool(whole), number == pointer.number)
        else:
            yield from _facts(settings, number)
    if pointer.problem:
        yield _lost_link(settings, pointer.problem, bool(whole))


@dataclass(frozen=True)
class _Fault:
    path: Path
    what: str
    # None: setting it aside would not help, as the file is whole for another DuckDB or another user.
    advice: str | None = None


def _fault(settings: Settings, number: int, folder: Path, thorough: bool) -> _Fault | None:
    path = folder / settings.duckdb_path.name
    if not durable.is_folder(folder):
        return _Fault(folder, f"is {_kind_of(folder)} where a generation's folder belongs")
    if problem := published.unreadable(settings, number):
        return _Fault(folder, "may not be read", problem)
    if not durable.is_file(path):
        others = sorted(one.name for one in folder.glob("*.duckdb"))
        hint = f", but {', '.join(others)}: DUCKDB_PATH has another name" if others else ""
        return _Fault(folder, f"holds no {path.name}{hint}")
    found = published.read(settings, number)
    return _file_fault(found[0], thorough) if found else None


def _file_fault(one: Generation, thorough: bool) -> _Fault | None:
    try:
        reason = published.fault(one) if thorough else published.size_fault(one)
    except database.NewerFormat as error:
        return _Fault(one.database, "cannot be opened here", str(error))
    except WarehouseBusy as error:
        return _Fault(one.database, "is in use", str(error))
    except FileNotFoundError:
        return None  # pruned since we looked
    return _Fault(one.database, reason) if reason else None


def _broken(settings: Settings, number: int, fault: _Fault, has_whole: bool, is_current: bool) -> Damage:
    blocks = not _is_brought(settings) and (is_current or not has_whole)
    if fault.advice:
        return Damage(fault.path, fault.what, fault.advice, blocks=blocks)
    if not has_whole:
        return Damage(
            fault.path, fault.what, f"No generation is whole: {published.bring_back(settings)}", blocks=blocks
        )
    folder = settings.published_dir / published.folder_name(number)
    way_out = f" {published.way_back(settings, number)}" if is_current else ""
    return Damage(
        fault.path,
        fault.what,
        f"Repair moves generation {number} to {settings.set_aside_dir}.{way_out}",
        lambda: f"{fault.path} {fault.what}: generation {number} moved to {durable.set_aside(settings, folder)}.",
        blocks=blocks,
    )


def _facts(settings: Settings, number: int) -> Iterator[Damage]:
    found = published.read(settings, number)
    if not found or not found[1]:
        return
    generation, damage = found
    path = generation.database.with_name(published.FACTS)

    def rewrite() -> str:
        if path.is_dir():
            durable.set_aside(settings, path)
        durable.write_json(path, facts.as_json(generation))
        return f"{path} {damage}: written again from what the folder says."

    yield Damage(path, damage, "The next run that builds writes it again from what the folder says.", rewrite, True)


def _lost_link(settings: Settings, problem: str, has_whole: bool) -> Damage:
    link = settings.published_dir / "current"
    # Somebody copied it with what it led to, and only a person knows which of the two is right.
    is_copy = link.is_dir() and not link.is_symlink() and any(link.iterdir())
    if not has_whole and not (is_copy and (link / settings.duckdb_path.name).is_file()):
        cure = f"No generation is whole: {published.bring_back(settings)}"
        return Damage(link, problem, cure, blocks=is_copy or not _is_brought(settings))
    who = "Repair" if is_copy else "The next run that builds"
    if has_whole:
        goes = f"moves it to {settings.set_aside_dir} and " if is_copy else ""
        cure = f"{who} {goes}makes the newest whole generation current again."
    else:
        cure = f"{who} makes it a generation, and current."
    return Damage(link, problem, cure, lambda: _restore_link(settings, problem), by_run=not is_copy, blocks=True)


def _is_brought(settings: Settings) -> bool:
    """Say whether somebody brought a database, which the next run makes a generation: then it does not need another."""
    return settings.duckdb_path.is_file() and not os.path.lexists(settings.owner_path)


def _restore_link(settings: Settings, problem: str) -> str:
    link = settings.published_dir / "current"
    chosen = published.newest_whole(settings)
    done = ""
    if not link.is_symlink() and os.path.lexists(link):
        if chosen is None:
            number = publish.next_number(settings)
            database.check_database(link / settings.duckdb_path.name)
            link.rename(settings.published_dir / published.folder_name(number))
            chosen = published.find(settings, number)
        else:
            done = f" What was there is in {durable.set_aside(settings, link)}."
    if chosen is None:
        raise WarehouseUnusable(f"{link} {problem}, and no generation is whole: {published.bring_back(settings)}")
    publish.make_current(settings, chosen.number)
    return (
        f"{link} {problem}: generation {chosen.number}, the newest that is whole, is current again.{done} To choose "
        "another: python -m dbtpod.generations list, and rollback"
    )
