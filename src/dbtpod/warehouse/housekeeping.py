"""Removes what is not needed any more: old run folders, previews and generations, and what a crash left behind."""

import shutil
import time
from pathlib import Path

from dbtpod.warehouse import durable, facts, intake, publish_preview, run_lock, working_copy
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.volume import Volume

KEEP_DAYS = 14
KEEP_RUNS = 100
KEEP_PREVIEWS = 3
# Of those that did not end well: each takes as much room as a generation.
KEEP_FAILED = 2


def clean(publisher: Publisher, run_id: str, keep_days: float = KEEP_DAYS, keep_runs: int = KEEP_RUNS) -> None:
    """Remove run folders and previews that are too old or too many, old generations, orphans; for the lock's holder.

    Never the folder of `run_id`, nor that of a run whose working copy waits to be resumed or continued, nor the
    current generation.
    """
    volume = publisher.volume
    with volume.errors("cleaning up"):
        _remove_orphans(volume)
        publisher.prune()
        publish_preview.prune(publisher, KEEP_PREVIEWS, keep_days)
        kept = _remove_failed(publisher, run_id, keep_days)
        _remove_runs(volume.runs, {run_id, working_copy.owner_run(volume), *kept}, keep_days, keep_runs)


def _remove_orphans(volume: Volume) -> None:
    for folder in (volume.published, volume.previews, volume.work, volume.failed, volume.history):
        for orphan in folder.glob(".*.tmp") if folder.is_dir() else ():
            if not intake.is_alive(orphan):
                durable.remove(orphan)
    intake.remove_dead(volume)


def _remove_failed(publisher: Publisher, run_id: str, keep_days: float) -> set[str]:
    """Remove the working copies that can be continued no more, or are too many; return the runs of the others.

    owner.json stays for a while: it tells a person who comes too late what was published since.
    """
    volume, current = publisher.volume, publisher.generations.pointer().number
    found = list(volume.failed.iterdir()) if volume.failed.is_dir() else []
    oldest_kept = time.time() - keep_days * 86400
    kept: set[str] = set()
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        owner, _ = facts.owner(path / volume.owner.name)
        if path.name != run_id and (owner is None or path.stat().st_mtime < oldest_kept):
            durable.remove(path)
        elif owner and owner.base == current and (path.name == run_id or len(kept) < KEEP_FAILED):
            kept.add(path.name)
        else:
            (path / volume.database.name).unlink(missing_ok=True)
    return kept


def _remove_runs(runs: Path, in_use: set[str | None], keep_days: float, keep_runs: int) -> None:
    if not runs.is_dir():
        return
    newest_first = sorted(
        ((folder.stat().st_mtime, folder) for folder in runs.iterdir() if folder.is_dir()), reverse=True
    )
    oldest_kept = time.time() - keep_days * 86400
    for _run, file, descriptor in run_lock.left_behind(runs, changed_before=oldest_kept):
        run_lock.drop(file, descriptor)
    for position, (changed, folder) in enumerate(newest_first):
        if folder.name not in in_use and (position >= keep_runs or changed < oldest_kept):
            # A reader's run may clean up its own folder meanwhile.
            shutil.rmtree(folder, ignore_errors=True)
