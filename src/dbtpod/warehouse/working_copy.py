"""The working copy: what a writing run builds on, made from the last good build; for the holder of the writer's lock.

work/warehouse.duckdb   the copy, always under this one name
work/owner.json         the flow run that it belongs to and the generation it began from

A DuckDB file without owner.json is not a working copy but somebody's database: one brought here, or one that was built
in place. It is never discarded: it becomes a generation first. One whose owner.json cannot be read is most likely a
working copy. It is set aside all the same, and the next one is made.
"""

import logging
import os
import shutil
import time
from pathlib import Path

from dbtpod.errors import WarehouseBusy
from dbtpod.settings import Settings
from dbtpod.warehouse import database, durable, facts, publish, published

# A shell or a dbt by hand is looked at as often while a run waits for it.
PAUSE_SECONDS = 0.5

Log = logging.Logger | logging.LoggerAdapter[logging.Logger]


def wait_until_unused(settings: Settings, timeout: float, log: Log) -> None:
    """Wait for a person's shell or dbt to close the file where runs build; WarehouseBusy after `timeout` seconds.

    The writer's lock keeps runs apart; such a process knows nothing of it.
    """
    deadline = time.monotonic() + timeout
    has_logged = False
    while settings.duckdb_path.exists() and (pid := database.writer(settings.duckdb_path)) is not None:
        if time.monotonic() >= deadline:
            raise WarehouseBusy(f"{_in_use_text(settings.duckdb_path, pid)} Close it, then run this again.")
        if not has_logged:
            log.info("%s Waiting %.0f s at most for it to close.", _in_use_text(settings.duckdb_path, pid), timeout)
        has_logged = True
        time.sleep(PAUSE_SECONDS)


def check_out(settings: Settings, run_id: str, log: Log) -> None:
    """Put a fresh copy of the current generation, or nothing before the first one, where the run builds.

    What another run left there goes. With `publish` off the file that is there is kept and built on in place.
    """
    with durable.volume_errors(settings.volume, 0, "a new working copy"):
        _check_out(settings, run_id, log)


def _check_out(settings: Settings, run_id: str, log: Log) -> None:
    work = settings.duckdb_path.parent
    work.mkdir(exist_ok=True)
    if settings.duckdb_path.exists():
        wait_until_unused(settings, 0, log)
        if not os.path.lexists(settings.owner_path):
            database.check_database(settings.duckdb_path)
            if not settings.publish:
                return
            _adopt(settings, log)
        if facts.owner(settings.owner_path)[1]:
            log.warning("%s", set_aside(settings))
    _discard(settings)
    base = published.current(settings)
    if base is None:
        log.info("Nothing was published on %s yet: this run begins with an empty warehouse.", settings.volume)
    fresh = _copy(settings, published.find(settings, base), log) if base is not None else None
    # Before the copy has its name, or a crash here would leave somebody's database. In place there is no owner.
    if settings.publish:
        durable.write_json(settings.owner_path, {"run": run_id, "base": base})
    else:
        settings.owner_path.unlink(missing_ok=True)
    if fresh:
        fresh.replace(settings.duckdb_path)
        durable.sync(work)


def owned_by(settings: Settings, run_id: str) -> bool:
    """Say whether the working copy is this run's own, half built, and begun from what is current now."""
    owner, _ = facts.owner(settings.owner_path)
    begun = settings.duckdb_path.exists() and owner is not None and owner.base == published.current(settings)
    return begun and owner is not None and owner.run == run_id


def owner_run(settings: Settings) -> str | None:
    """Return the flow run that the working copy belongs to, which may come back to resume it."""
    owner, _ = facts.owner(settings.owner_path)
    return owner.run if owner else None


def set_aside(settings: Settings) -> str:
    """Move a working copy away of which it is not known whose it is, with its owner.json; say where to."""
    moved = [
        durable.set_aside(settings, path)
        for path in (settings.duckdb_path, database.wal(settings.duckdb_path), settings.owner_path)
        if os.path.lexists(path)
    ]
    return f"Moved to {', '.join(map(str, moved))}: remove it when you do not need it. The next run makes its own copy."


def _in_use_text(path: Path, pid: int) -> str:
    by = f"process {pid}" if pid else "a process of another pod"
    return f"{path} is open for writing in DuckDB by {by}, such as a shell or a dbt started by hand."


def _adopt(settings: Settings, log: Log) -> None:
    generation = publish.adopt(settings)
    log.info(
        "%s was not made by a run: it became generation %d, and this run builds on a copy of it.",
        settings.duckdb_path,
        generation.number,
    )


def _discard(settings: Settings) -> None:
    """Remove the old working copy first, so that old and new never need room at the same time."""
    settings.duckdb_path.unlink(missing_ok=True)
    database.wal(settings.duckdb_path).unlink(missing_ok=True)
    # DuckDB's spill folder, left by a killed process.
    shutil.rmtree(settings.duckdb_path.with_name(settings.duckdb_path.name + ".tmp"), ignore_errors=True)
    _unfinished(settings.duckdb_path.parent).unlink(missing_ok=True)
    durable.sync(settings.duckdb_path.parent)


def _unfinished(work: Path) -> Path:
    return work / ".checkout.tmp"


def _copy(settings: Settings, generation: facts.Generation, log: Log) -> Path:
    published.check_whole(settings, generation)
    work, source = settings.duckdb_path.parent, generation.database
    size = source.stat().st_size
    target = _unfinished(work)
    purpose = f"the working copy of {source}"
    started = time.monotonic()
    try:
        with durable.volume_errors(work, size, purpose):
            if durable.clone(source, target):
                log.info("Working copy: %s shared with %s, no bytes copied.", durable.size_text(size), source)
                return target
            if durable.free(work) < size:
                raise durable.volume_full(work, size, purpose)
            durable.copy(source, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    seconds = time.monotonic() - started
    log.info("Working copy: %s copied from %s in %.1f s.", durable.size_text(size), source, seconds)
    return target
