"""The profile that runs use, made of the user's own: the same, but for the warehouse's path and the limits.

Of `path: shop.duckdb` it makes, in <project>/.dbtpod/ (see `project`):

    writer/profiles.yml    path: "{{ env_var('DUCKDB_PATH') }}"
    reader/profiles.yml    path: "{{ env_var('DBTPOD_READABLE_PATH') }}", and access_mode: READ_ONLY

both with our plugin (`run_target`). Of a DuckLake that models go to it leaves out which catalog it is (`lake`).
Everything else is the user's and stays as it is written: Jinja is text here, which dbt renders when it runs.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dbtpod.dbt import profile_source, profile_targets, project, run_target
from dbtpod.dbt.profile_source import Source, Unusable
from dbtpod.dbt.project import DUCKDB, DUCKLAKE, MADE, Facts, Target
from dbtpod.environment import environment as read_environment
from dbtpod.errors import SettingsError

_HEADER = "# Made by dbtpod, and written again when it changes. Its source: {source}\n"
_PROJECT = "dbt_project.yml"
_Change = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class EffectiveProfile:
    """What is made of a project's profile."""

    facts: Facts
    writer: Mapping[str, Any]
    reader: Mapping[str, Any]
    # What a user should know of it.
    notes: tuple[str, ...]
    source: Path | None


def problems(project_folder: Path, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return everything that keeps dbtpod from using the profile of the project in the folder; none: it is usable.

    Each text names the file, the profile, the target and the fix. Nothing is written, and dbt is not started.
    """
    return _make(project_folder, read_environment() if environment is None else environment)[1]


def make(project_folder: Path, environment: Mapping[str, str] | None = None) -> EffectiveProfile:
    """Make the effective profile; SettingsError has all problems where that cannot be done."""
    made, found = _make(project_folder, read_environment() if environment is None else environment)
    if made is None:
        raise SettingsError("\n".join(found))
    return made


def write(project_folder: Path, environment: Mapping[str, str] | None = None) -> EffectiveProfile:
    """Make it and write it into the project's folder, where a file that is the same already is left alone."""
    made = make(project_folder, environment)
    header = _HEADER.format(source=made.source or "none, as there is no profiles.yml")
    files = {
        ".gitignore": "*\n",
        f"{project.WRITER}/profiles.yml": header + _dump(made.writer),
        f"{project.READER}/profiles.yml": header + _dump(made.reader),
        # The last: what it says is there.
        "project.json": made.facts.text(),
    }
    try:
        for name, text in files.items():
            _replace(project_folder / MADE / name, text)
    except OSError as error:
        raise SettingsError(
            f"{project_folder / MADE} has no profile, or one of an earlier version of the project's files, and it "
            f"cannot be written ({error.strerror}). Run `dbtpod bake` where the image is built."
        ) from error
    return made


def refresh(project_folder: Path, environment: Mapping[str, str] | None = None) -> EffectiveProfile | None:
    """Write it where there is none, or where the user's files have changed since; None where nothing was to do."""
    environment = read_environment() if environment is None else environment
    known = project.facts(project_folder)
    return None if known and _is_current(project_folder, known, environment) else write(project_folder, environment)


def _make(folder: Path, environment: Mapping[str, str]) -> tuple[EffectiveProfile | None, list[str]]:
    try:
        source = profile_source.find(folder, environment, Path.cwd())
    except Unusable as error:
        return None, [str(error)]
    judged = profile_targets.judge(source.profile, _where(folder, source, source.name), environment)
    if judged.problems:
        return None, judged.problems
    files = [folder / _PROJECT, *([source.file] if source.file else [])]
    facts = Facts(
        profile=source.name,
        target=source.profile.get("target"),
        targets=judged.targets,
        is_named=source.is_named,
        sources={os.path.relpath(file, folder): _digest(file) for file in files},
    )
    # A command may name another profile of the file.
    others = {
        name: profile_targets.judge(found, _where(folder, source, name), environment).targets
        for name, found in source.profiles.items()
        if name not in (source.name, profile_source.CONFIG)
    }
    writer, reader = (
        _document(source, others | {source.name: judged.targets}, how)
        for how in (run_target.writing, run_target.reading)
    )
    return EffectiveProfile(facts, writer, reader, (*source.notes, *judged.notes), source.file), []


def _where(folder: Path, source: Source, name: str) -> str:
    return f"{source.file or folder}: profile `{name}`"


def _document(source: Source, targets: Mapping[str, Mapping[str, Target]], change: _Change) -> dict[str, Any]:
    made = {name: found for name, found in source.profiles.items() if name == profile_source.CONFIG or targets[name]}
    for name in targets.keys() & made.keys():
        outputs = made[name]["outputs"]
        kept = {
            n: change(outputs[n]) if t.adapter in (DUCKDB, DUCKLAKE) else outputs[n] for n, t in targets[name].items()
        }
        made[name] = made[name] | {"outputs": kept}
    return made


class _Dumper(yaml.SafeDumper):
    """Writes what an anchor stands for in each place, and Jinja in double quotes, so that its own stay single."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if "'" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def _dump(document: Mapping[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _is_current(folder: Path, known: Facts, environment: Mapping[str, str]) -> bool:
    """Whether it was made of the files that are there now.

    One that is not there any more is no reason: a pod has no ~/.dbt, and may lack a variable of the build.
    """
    there = {file: digest for name, digest in known.sources.items() if (file := folder / name).is_file()}
    with suppress(Unusable):
        chosen = profile_source.chosen(folder, environment, Path.cwd())
        if chosen and not any(chosen.samefile(file) for file in there):
            return False
    if len(there) == 1 and (folder / "profiles.yml").is_file():
        return False
    return all(_digest(file) == digest for file, digest in there.items())


def _replace(file: Path, text: str) -> None:
    """Write a file that may be read at any time, in one step."""
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False, encoding="utf-8") as new:
        new.write(text)
    Path(new.name).chmod(0o644)
    Path(new.name).replace(file)
