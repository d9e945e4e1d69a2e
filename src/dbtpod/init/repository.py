"""What `dbtpod init` does: the files of a user's repository are written, and later brought up to date."""

import dataclasses
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from zoneinfo import available_timezones

from dbtpod.errors import SettingsError
from dbtpod.init import changes, git, record, survey, templates
from dbtpod.init.changes import Changes
from dbtpod.init.record import Record
from dbtpod.init.survey import Survey
from dbtpod.init.templates import Choices


def init(
    folder: Path, environment: Mapping[str, str], timezone: str | None = None, force: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Write the files that are not there; the lines to print, and those of what the user is left with.

    A file that is there stays, unless `force` names it. SettingsError where there is no dbt project, or several.
    """
    found, kept, texts = _render(folder, environment, timezone)
    if unknown := sorted(set(force) - set(texts)):
        raise SettingsError(f"--force {unknown[0]}: `dbtpod init` writes {', '.join(texts)}.")
    made = Changes(folder, {**kept.files})
    for path, text in texts.items():
        made.write(path, text, path in force)
    record.write(folder, dataclasses.replace(kept, files=made.files))
    title = f"The dbt project {found.name} in {(folder / found.folder).resolve()}"
    return [title, *made.done, *_next_steps(folder, kept.choices)], made.left


def update(folder: Path, environment: Mapping[str, str], timezone: str | None = None) -> tuple[list[str], list[str]]:
    """Bring what the templates have now into the files; the lines to print, and those of what the user is left with.

    A user's edits stay. Where both changed the same lines, git's marks stand around both.
    """
    before = record.read(folder)
    if before is None:
        raise SettingsError(
            f"There is no {record.FILE} in {folder.absolute()}: `dbtpod init` writes it, and leaves the files that are "
            "there as they are."
        )
    _, kept, texts = _render(folder, environment, timezone)
    names = ("yours", f"dbtpod {before.choices.version}", f"dbtpod {kept.choices.version}")
    made = Changes(folder, {path: text for path, text in before.files.items() if path in texts})
    # All are merged before the first is written: one that cannot be merged leaves everything as it was.
    merged = {path: made.merge(path, texts[path], names) for path in made.files}
    for path, text in merged.items():
        if text is not None:
            changes.replace(folder / path, text)
    for path, text in texts.items():
        if path not in merged:
            made.write(path, text)
    for path in sorted(before.files.keys() - texts.keys()):
        made.say(path, "dbtpod has no such file any more: it is yours alone")
    record.write(folder, dataclasses.replace(kept, files=made.files))
    return [f"From {names[1]} to {names[2]}", *made.done], made.left


def _render(
    folder: Path, environment: Mapping[str, str], timezone: str | None
) -> tuple[Survey, Record, dict[str, str]]:
    """Return the project, what was recorded before with what is decided now, and the text of each file."""
    if timezone and timezone not in available_timezones():
        raise SettingsError(f"--timezone {timezone}: there is no such timezone. Write one such as Europe/Berlin.")
    found = survey.of(folder, environment)
    here = folder.resolve()
    first = Choices(version("dbtpod"), templates.name(found.name), timezone or "UTC", git.main_branch(here))
    kept = record.read(folder) or Record(first)
    choices = dataclasses.replace(kept.choices, version=first.version, timezone=timezone or kept.choices.timezone)
    return found, dataclasses.replace(kept, choices=choices), templates.render(found, choices, git.place(here))


def _next_steps(folder: Path, choices: Choices) -> list[str]:
    name, tag = choices.name, templates.tag(git.place(folder.resolve()))
    there = [] if folder.resolve() == Path.cwd() else [f"  cd {folder}"]
    return [
        "",
        "Next:",
        *there,
        "  dbtpod check",
        "  dbtpod run",
        f"  docker build --tag {name}:{tag} .",
        f"  helm upgrade --install {name} CHART --namespace {name} --create-namespace --values values.yaml \\",
        f"    --set-string image.tag={tag} --wait",
        f"CHART is dbtpod's chart {choices.version}: charts/dbtpod of its repository, or where you keep it.",
    ]
