"""What a command selects, asked of dbt before a run waits for the lock: a name that is not there is an error at once.

dbt alone knows what its selection syntax matches, so it lists the nodes, from what was parsed for the image. In a pod
it is imported already, and this is a part of what its first command does anyway.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dbtpod.dbt import arguments, kept_state, names, process
from dbtpod.dbt.arguments import Arguments
from dbtpod.dbt.names import Names
from dbtpod.dbt.project import Project
from dbtpod.errors import DbtUnusable, SettingsError
from dbtpod.registration.entrypoints import did_you_mean


def check(project: Project, command: Sequence[str]) -> None:
    """SettingsError where the command selects nothing, or names what is not there; DbtUnusable where dbt cannot say."""
    text = arguments.text(command)
    words = arguments.lookup(command, process.environment(project, project.folder))
    if words is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        target_dir = Path(folder)
        kept_state.give(project, words, target_dir)
        with process.start(words, project, target_dir, is_first=True) as dbt:
            lines = list(dbt.lines())
            code = dbt.wait()
        # On a laptop the run then parses nothing.
        kept_state.keep(project, words, target_dir)
        known = _names(target_dir)
    events = list(_events(lines))
    missed = [event["data"]["spec_raw"] for event in events if _is(event, "NoNodesForSelectionCriteria")]
    if known and (wrong := unknown_selector(arguments.parse(command), known)):
        raise SettingsError(f"{text}: {wrong}")
    if code:
        said = [event["info"]["msg"] for event in events if event["info"]["level"] == "error"] or lines[-20:]
        raise DbtUnusable("\n".join([f"{text}: dbt cannot say what it selects.", *map(_plain, said)]))
    if missed:
        missing = "\n".join(unmatched(each, known) for each in missed)
        raise SettingsError(f"{text}: {missing}")
    if not any(_is(event, "PrintEvent") for event in events):
        raise SettingsError(f"{text}: {nothing(command)}")


def unmatched(criterion: str, known: Names) -> str:
    """Say that a criterion matches nothing, with the name that may have been meant."""
    return f"{criterion!r} matches nothing{meant(criterion, known)}"


def nothing(command: Sequence[str]) -> str:
    """Say that a command selects nothing."""
    return f"it selects nothing that dbt {arguments.parse(command).verb} runs."


def unknown_selector(given: Arguments, known: Names) -> str | None:
    """Name the selector that the project does not have."""
    selector = given.last("--selector")
    if not selector or selector in known["selectors"]:
        return None
    return f"selectors.yml has no selector {selector!r}{did_you_mean(selector, known['selectors'])}"


def meant(criterion: str, known: Names) -> str:
    """Ask whether the nearest name was meant, of the first part of a criterion that has one.

    >>> meant("tag:dialy,orders+", {"nodes": ("orders",), "tags": ("daily",)})
    "; did you mean 'daily'?"
    """
    for part in criterion.split(","):
        name, candidates = names.plain(part), names.candidates(part, known)
        if name not in candidates and (near := did_you_mean(name, candidates)):
            return near
    return ""


def _names(target_dir: Path) -> Names:
    """Read the project's names; none where dbt could not parse it."""
    file = target_dir / "manifest.json"
    return names.of(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def _events(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            event = json.loads(line)
            if isinstance(event["info"]["name"], str):
                yield event
        except (ValueError, KeyError, TypeError):
            # What a macro or a plugin prints.
            continue


def _is(event: dict[str, Any], name: str) -> bool:
    return bool(event["info"]["name"] == name)


def _plain(text: str) -> str:
    return text.removeprefix("[ERROR]: ").removeprefix("Encountered an error:\n")
