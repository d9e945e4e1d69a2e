"""A YAML file with the line of each key, and with what YAML forgives: a key that is given twice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]  # ("deployments", 0, "work_pool", "name")
Problem = tuple[Place, str]


@dataclass(frozen=True)
class Diagnostic:
    """What is wrong in a line of a file, and what to write."""

    line: int
    text: str


@dataclass(frozen=True)
class YamlFile:
    """A file that is YAML."""

    path: Path
    content: Any
    # Keys that are given twice, of which YAML keeps the last.
    repeated: tuple[Problem, ...]
    _lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """Return the line of a key or list item; of what it is in, where it is not in the file itself."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 1)


def read(path: Path) -> YamlFile | Diagnostic:
    """Read a file, or say why it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        node, content = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        return Diagnostic(1, f"cannot be read: {error}")
    except yaml.YAMLError as error:
        return _no_yaml(error)
    repeated: list[Problem] = []
    lines = dict(_lines(node, (), repeated))
    return YamlFile(path, content, tuple(repeated), lines)


def _no_yaml(error: yaml.YAMLError) -> Diagnostic:
    mark = getattr(error, "problem_mark", None)
    reason = str(getattr(error, "problem", None) or error)
    return Diagnostic(mark.line + 1 if mark else 1, f"is not YAML: {reason}{_ADVICE.get(reason, '')}")


_ADVICE = {
    "mapping values are not allowed here": "; put a text that has a colon in quotes",
    "found unhashable key": "; put a text that begins with {{ in quotes",
}


def _lines(node: yaml.Node | None, at: Place, repeated: list[Problem]) -> Iterator[tuple[Place, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            place, line = (*at, key.value), key.start_mark.line + 1
            if key.value in seen:
                repeated.append((place, f"is given twice, first in line {seen[key.value]}: YAML keeps this one only"))
            seen[key.value] = line
            yield place, line
            yield from _lines(value, place, repeated)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1
            yield from _lines(value, (*at, index), repeated)
