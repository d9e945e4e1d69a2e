"""What is wrong with the generations: databases that are not what was published, facts, and the link to the current.

Looking changes nothing, see `damage`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dbtpod.errors import DbtPodError, WarehouseBusy, WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import database, durable, facts, publish, published
from dbtpod.warehouse.damage import Damage, kind_of
from dbtpod.warehouse.facts import Generation


def find(settings: Settings, thorough: bool) -> Iterator[Damage]:
    """Look at each generation, its facts and the link; `thorough` opens the databases in DuckDB too."""
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
        return _Fault(folder, f"is {kind_of(folder)} where a generation's folder belongs")
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
        try:
            database.check_database(generation.database)
        except DbtPodError as error:
            # The size of a damaged file must not become the size that it had.
            return f"{path} {damage}: left as it is. {error}"
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
        "another: dbtpod generations list, and rollback"
    )
