"""What is wrong with generations and previews: databases that are not what was kept, facts, the link to the current.

Looking changes nothing, see `damage`.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dbtpod.errors import DbtPodError, WarehouseBusy, WarehouseUnusable
from dbtpod.warehouse import database, durable, facts
from dbtpod.warehouse.builds import FACTS, HISTORY, Builds, fault, size_fault
from dbtpod.warehouse.damage import Damage, kind_of
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.generations import Generations
from dbtpod.warehouse.previews import Previews
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.volume import Volume


def find(publisher: Publisher, thorough: bool) -> Iterator[Damage]:
    """Look at each build, its facts and the link; `thorough` opens the databases in DuckDB too."""
    yield from _generations(publisher, thorough)
    yield from _previews(publisher.previews, thorough)


def _generations(publisher: Publisher, thorough: bool) -> Iterator[Damage]:
    generations = publisher.generations
    try:
        entries = generations.entries()
    except WarehouseUnusable:
        return  # of another kind, or not readable: found above
    faults = {number: _fault(generations, number, path, thorough) for number, path in entries.items()}
    whole = [number for number, one in faults.items() if not one]
    pointer = generations.pointer()
    for number, one in faults.items():
        if one:
            yield _broken(generations, number, one, bool(whole), number == pointer.number)
        else:
            yield from _facts(generations, number)
    if pointer.problem:
        yield _lost_link(publisher, pointer.problem, bool(whole))


def _previews(previews: Previews, thorough: bool) -> Iterator[Damage]:
    """Look at what no run needs: damage there is named, and stands against nothing."""
    try:
        entries = previews.entries()
    except WarehouseUnusable:
        return  # of another kind, or not readable: found above
    for number, path in entries.items():
        if one := _fault(previews, number, path, thorough):
            cure = one.advice or f"Repair moves {previews.name(number)} to {previews.volume.aside}. Build it again."
            yield Damage(one.path, one.what, cure, None if one.advice else _setting_aside(previews, number, one))
        else:
            yield from _facts(previews, number)


def _setting_aside(builds: Builds, number: int, found: "_Fault") -> Callable[[], str]:
    folder = builds.folder(number)
    name = builds.name(number)
    return lambda: f"{found.path} {found.what}: {name} moved to {builds.volume.set_aside(folder)}."


@dataclass(frozen=True)
class _Fault:
    path: Path
    what: str
    # None: setting it aside would not help, as the file is whole for another DuckDB or another user.
    advice: str | None = None


def _fault(builds: Builds, number: int, folder: Path, thorough: bool) -> _Fault | None:
    path = builds.database(number)
    if not durable.is_folder(folder):
        return _Fault(folder, f"is {kind_of(folder)} where the folder of {builds.name(number)} belongs")
    if problem := builds.unreadable(number):
        return _Fault(folder, "may not be read", problem)
    if not durable.is_file(path):
        others = sorted(one.name for one in folder.glob("*.duckdb") if one.name != HISTORY)
        hint = f", but {', '.join(others)}: DUCKDB_PATH has another name" if others else ""
        if not others and durable.is_file(folder / facts.MANIFEST):
            hint = ", as one that was built in a database server (warehouse.kind: remote)"
        return _Fault(folder, f"holds no {path.name}{hint}")
    found = builds.read(number)
    return _file_fault(found[0], thorough) if found else None


def _file_fault(one: Generation, thorough: bool) -> _Fault | None:
    try:
        reason = fault(one) if thorough else size_fault(one)
    except database.NewerFormat as error:
        return _Fault(one.database, "cannot be opened here", str(error))
    except WarehouseBusy as error:
        return _Fault(one.database, "is in use", str(error))
    except FileNotFoundError:
        return None  # pruned since we looked
    return _Fault(one.database, reason) if reason else None


def _broken(generations: Generations, number: int, found: _Fault, has_whole: bool, is_current: bool) -> Damage:
    blocks = not _is_brought(generations.volume) and (is_current or not has_whole)
    if found.advice:
        return Damage(found.path, found.what, found.advice, blocks=blocks)
    if not has_whole:
        return Damage(found.path, found.what, f"No generation is whole: {generations.bring_back()}", blocks=blocks)
    volume = generations.volume
    way_out = f" {generations.way_back(number)}" if is_current else ""
    return Damage(
        found.path,
        found.what,
        f"Repair moves generation {number} to {volume.aside}.{way_out}",
        _setting_aside(generations, number, found),
        blocks=blocks,
    )


def _facts(builds: Builds, number: int) -> Iterator[Damage]:
    found = builds.read(number)
    if not found or not found[1]:
        return
    generation, damage = found
    path = generation.database.with_name(FACTS)

    def rewrite() -> str:
        try:
            if not generation.is_remote:
                database.check_database(generation.database)
        except DbtPodError as error:
            # The size of a damaged file must not become the size that it had.
            return f"{path} {damage}: left as it is. {error}"
        if path.is_dir():
            builds.volume.set_aside(path)
        durable.write_json(path, facts.as_json(generation))
        return f"{path} {damage}: written again from what the folder says."

    yield Damage(path, damage, "The next run that builds writes it again from what the folder says.", rewrite, True)


def _lost_link(publisher: Publisher, problem: str, has_whole: bool) -> Damage:
    generations, volume = publisher.generations, publisher.volume
    link = volume.current
    # Somebody copied it with what it led to, and only a person knows which of the two is right.
    is_copy = link.is_dir() and not link.is_symlink() and any(link.iterdir())
    if not has_whole and not (is_copy and (link / volume.database.name).is_file()):
        cure = f"No generation is whole: {generations.bring_back()}"
        return Damage(link, problem, cure, blocks=is_copy or not _is_brought(volume))
    who = "Repair" if is_copy else "The next run that builds"
    if has_whole:
        goes = f"moves it to {volume.aside} and " if is_copy else ""
        cure = f"{who} {goes}makes the newest whole generation current again."
    else:
        cure = f"{who} makes it a generation, and current."
    return Damage(link, problem, cure, lambda: _restore_link(publisher, problem), by_run=not is_copy, blocks=True)


def _is_brought(volume: Volume) -> bool:
    """Say whether somebody brought a database, which the next run makes a generation: then it does not need another."""
    return volume.database.is_file() and not os.path.lexists(volume.owner)


def _restore_link(publisher: Publisher, problem: str) -> str:
    generations, volume = publisher.generations, publisher.volume
    link = volume.current
    chosen = generations.newest_whole()
    done = ""
    if not link.is_symlink() and os.path.lexists(link):
        if chosen is None:
            number = generations.next_number()
            database.check_database(link / volume.database.name)
            link.rename(generations.folder(number))
            chosen = generations.find(number)
        else:
            done = f" What was there is in {volume.set_aside(link)}."
    if chosen is None:
        raise WarehouseUnusable(f"{link} {problem}, and no generation is whole: {generations.bring_back()}")
    publisher.make_current(chosen.number)
    return (
        f"{link} {problem}: generation {chosen.number}, the newest that is whole, is current again.{done} To choose "
        "another: dbtpod generations list, and rollback"
    )
