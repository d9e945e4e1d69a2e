"""The files beside a user's dbt project: written once, updated by a merge, overwritten only where they are named."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from zoneinfo import available_timezones

from dbtpod.errors import SettingsError
from dbtpod.init import git, record, survey, templates
from dbtpod.init.record import Record
from dbtpod.init.survey import Survey
from dbtpod.init.templates import IGNORE_FILE, Choices

_ABOUT = {
    "prefect.yaml": "what runs when",
    "Dockerfile": "the image of this repository",
    IGNORE_FILE: "what stays out of it",
    "values.yaml": "what the chart is given",
}


@dataclass
class Changes:
    """What was done, in lines; what is left to the user; and what the record then has."""

    done: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def say(self, path: str, text: str) -> None:
        """Add a line on a file."""
        self.done.append(f"  {path:<28} {text}")


def init(
    folder: Path, environment: Mapping[str, str], timezone: str | None = None, force: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Write the files that are not there; the lines to print, and those of what the user is left with.

    A file that is there stays, unless `force` names it. SettingsError where there is no dbt project, or several.
    """
    found, kept, texts = _rendered(folder, environment, timezone)
    if unknown := sorted(set(force) - set(texts)):
        raise SettingsError(f"--force {unknown[0]}: `dbtpod init` writes {', '.join(texts)}.")
    changes = Changes(files={**kept.files})
    for path, text in texts.items():
        _write_new(folder, path, text, path in force, changes)
    record.write(folder, Record(kept.choices, changes.files))
    title = f"The dbt project {found.name} in {(folder / found.folder).resolve()}"
    return [title, *changes.done, *_next_steps(folder, kept.choices)], changes.left


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
    _, kept, texts = _rendered(folder, environment, timezone)
    names = ("yours", f"dbtpod {before.choices.version}", f"dbtpod {kept.choices.version}")
    changes = Changes()
    for path, text in texts.items():
        if path in before.files:
            _merge(folder / path, path, (before.files[path], text), names, changes)
            changes.files[path] = text
        else:
            _write_new(folder, path, text, False, changes)
    for path in sorted(set(before.files) - set(texts)):
        changes.say(path, "dbtpod has no such file any more: it is yours alone")
    record.write(folder, Record(kept.choices, changes.files))
    return [f"From {names[1]} to {names[2]}", *changes.done], changes.left


def _rendered(
    folder: Path, environment: Mapping[str, str], timezone: str | None
) -> tuple[Survey, Record, dict[str, str]]:
    """The project, what was recorded before with what is decided now, and the text of each file."""
    if timezone and timezone not in available_timezones():
        raise SettingsError(f"--timezone {timezone}: there is no such timezone. Write one such as Europe/Berlin.")
    found = survey.of(folder, environment)
    here = folder.resolve()
    kept = record.read(folder) or Record(
        Choices(version("dbtpod"), templates.name(found.name), "UTC", git.main_branch(here))
    )
    choices = replace(kept.choices, version=version("dbtpod"), timezone=timezone or kept.choices.timezone)
    return found, replace(kept, choices=choices), templates.render(found, choices, git.place(here))


def _write_new(folder: Path, path: str, text: str, is_forced: bool, changes: Changes) -> None:
    file = folder / path
    if path == IGNORE_FILE and "Dockerfile" not in changes.files and not is_forced:
        changes.left.append(f"{path} is not written: it would change what your own Dockerfile is given.")
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb" if is_forced else "xb") as opened:
            opened.write(text.encode())
    except FileExistsError:
        _leave(file, path, text, changes)
        return
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}.") from error
    changes.files[path] = text
    changes.say(path, _ABOUT.get(path, "checks each pull request, deploys the main branch"))


def _leave(file: Path, path: str, text: str, changes: Changes) -> None:
    if path in changes.files:
        changes.say(path, "is there already; `dbtpod init --update` brings what is new into it")
    elif file.is_file() and file.read_bytes().replace(b"\r\n", b"\n") == text.encode():
        changes.files[path] = text
        changes.say(path, "is there already")
    else:
        changes.left.append(
            f"{path} is not from `dbtpod init` and stays as it is. Use it if `dbtpod check` finds nothing wrong with "
            f"it, or move it away and run this again, or overwrite it: dbtpod init --force {path}"
        )


def _merge(file: Path, path: str, texts: tuple[str, str], names: tuple[str, ...], changes: Changes) -> None:
    base, now = texts
    if not file.exists():
        changes.say(path, "stays away, as you removed it")
        return
    if base == now:
        changes.say(path, "nothing new")
        return
    try:
        yours = file.read_bytes().decode()
        merged = git.merge(yours, base, now, names)
        file.write_bytes(merged.text.encode())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be updated: {error}.") from error
    if merged.conflicts:
        changes.left.append(
            f"{path} has {'1 conflict' if merged.conflicts == 1 else f'{merged.conflicts} conflicts'}: you and dbtpod "
            "changed the same lines. Keep what is right between <<<<<<< and >>>>>>>, and remove these marks."
        )
    else:
        changes.say(path, "nothing new" if merged.text == yours else "updated")


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
