"""Where a run's bars are: one lane for each of dbt's threads, time from left to right; pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from dbtpod.reader.pages.recorded import Row
from dbtpod.ui.text import duration

WIDTH = 1000.0
_LEFT = 84.0
_LANE = 26.0
_TOP = 8.0
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_LETTER = 6.4


@dataclass(frozen=True)
class Bar:
    """One execution."""

    x: float
    y: float
    width: float
    # As much of the name as there is room for.
    label: str
    node: Row


@dataclass(frozen=True)
class Gantt:
    """A drawing, in its own units."""

    lanes: tuple[tuple[str, float], ...]
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[str, float], ...]
    height: float
    # The part of the threads' time in which they had a node.
    busy: float
    left: float = _LEFT
    width: float = WIDTH
    lane: float = _LANE


def draw(nodes: Sequence[Row]) -> Gantt | None:
    """Place those that have a time and a thread; None where there is none."""
    found = [one for one in nodes if one["started"] is not None and one["seconds"] is not None and one["thread"]]
    if not found:
        return None
    begin = min(one["started"] for one in found)
    whole = max((one["started"] - begin + timedelta(seconds=one["seconds"])).total_seconds() for one in found)
    whole = max(whole, 0.001)
    threads = sorted({one["thread"] for one in found}, key=lambda name: (len(name), name))
    lanes = {name: _TOP + number * _LANE for number, name in enumerate(threads)}
    scale = (WIDTH - _LEFT) / whole
    bars = [_bar(one, (one["started"] - begin).total_seconds(), scale, lanes[one["thread"]]) for one in found]
    busy = sum(one["seconds"] for one in found) / (whole * len(threads))
    step = next((each for each in _STEPS if whole / each <= 8), whole / 8)
    ticks = [(_tick(n * step), _LEFT + n * step * scale) for n in range(math.floor(whole / step) + 1)]
    return Gantt(tuple(lanes.items()), tuple(bars), tuple(ticks), _TOP + len(lanes) * _LANE + 24, min(1.0, busy))


def _bar(node: Row, begin: float, scale: float, y: float) -> Bar:
    width = max(1.5, node["seconds"] * scale - 0.8)
    room = int((width - 8) / _LETTER)
    name = str(node["name"])
    label = name if len(name) <= room else f"{name[: room - 1]}\N{HORIZONTAL ELLIPSIS}" if room > 6 else ""
    return Bar(round(_LEFT + begin * scale, 2), y, round(width, 2), label, node)


def _tick(seconds: float) -> str:
    return "0" if seconds == 0 else duration(seconds).replace(".0 s", " s")
