"""What dbt parsed last on this machine, for its next command: it then parses only what has changed since.

A pod begins with what was parsed for its image (`parse_state`), and keeps nothing. Here it is kept where `prepare` has
made the folder, which `dbtpod run` and `dbtpod serve` do.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dbtpod.dbt import arguments, parse_state
from dbtpod.dbt.parse_state import FILE
from dbtpod.dbt.project import MADE, Project

# Of such sets, as --vars may be others each day.
_MOST = 8
# What dbt reads of a project.
_SUFFIXES = {".sql", ".py", ".yml", ".yaml", ".csv", ".md", ".json"}


def prepare(project: Project) -> Path:
    """Make the folder that states are kept in; return the one around it."""
    _states(project).mkdir(parents=True, exist_ok=True)
    return project.folder / MADE


def give(project: Project, args: Sequence[str], target_dir: Path) -> None:
    """Put the state for a command where dbt looks for it: the one that is kept, or else the baked one."""
    state = _state(project, args)
    if state.is_file():
        shutil.copyfile(state, target_dir / FILE)
    else:
        parse_state.give(project, args, target_dir)


def keep(project: Project, args: Sequence[str], target_dir: Path) -> None:
    """Keep what a command has parsed, if states are kept here; a folder that cannot be written keeps nothing."""
    parsed, state = target_dir / FILE, _state(project, args)
    if not (state.parent.is_dir() and parsed.is_file()):
        return
    with suppress(OSError):
        # Another run may be reading it.
        fresh = state.with_name(f".{state.name}.{os.getpid()}")
        shutil.copyfile(parsed, fresh)
        fresh.replace(state)
        others = sorted(state.parent.glob(f"*{FILE}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in others[_MOST:]:
            old.unlink()


def stamp(project: Project) -> str:
    """Return a digest of the names, sizes and times of the project's files; empty where no states are kept."""
    if not _states(project).is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(files(project)):
        found = path.stat()
        digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def files(project: Project) -> Iterator[Path]:
    """Yield the project's files that dbt reads, its packages among them."""
    yield from _files(project.folder, project.writes.parent.parent)


def _states(project: Project) -> Path:
    return project.folder / MADE / "parsed"


def _state(project: Project, args: Sequence[str]) -> Path:
    given = [word.written() for word in arguments.parse(args).words if word.name in arguments.PARSING]
    variant = hashlib.sha256(json.dumps(given).encode()).hexdigest()[:16] + "-" if given else ""
    return _states(project) / f"{project.profiles_dir.name}-{variant}{FILE}"


def _files(folder: Path, volume: Path) -> Iterator[Path]:
    """Yield the files that dbt reads; without what it and we write, which may lie in the project's folder."""
    for each in folder.iterdir():
        if each.name.startswith(".") or each.name in ("target", "logs") or each == volume:
            continue
        if each.is_dir():
            if not (each / "pyvenv.cfg").exists():
                yield from _files(each, volume)
        elif each.suffix in _SUFFIXES and each.is_file():
            yield each
