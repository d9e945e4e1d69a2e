"""What `dbt ls` lists: the ids of nodes; it leaves its manifest in the folder that it is given."""

import json
from collections.abc import Sequence
from pathlib import Path

from dbtpod.dbt import kept_state, parse_state, process
from dbtpod.dbt.project import Project


class NotListed(Exception):
    """dbt listed nothing that can be read; the text has its words."""


def ids(command: Sequence[str], project: Project, folder: Path) -> list[str]:
    """Run a `dbt ls` whose output is JSON with `unique_id`, and return the ids; none where it selects nothing."""
    kept_state.give(project, command, folder)
    with process.start(command, project, folder, is_first=True) as dbt:
        lines = list(dbt.lines())
        code = dbt.wait()
    parse_state.take_away(folder)
    if code:
        raise NotListed(f"`dbt ls` ended with exit code {code}: {' '.join(lines)[-300:]}")
    # dbt prints warnings among them.
    found = [_unique_id(line) for line in lines if line.startswith("{")]
    if None in found:
        raise NotListed(f"`dbt ls` names no nodes that can be read: {' '.join(lines)[-300:]}")
    return [node_id for node_id in found if node_id]


def _unique_id(line: str) -> str | None:
    try:
        found = json.loads(line)["unique_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
