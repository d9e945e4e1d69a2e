"""The runs over time."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dbtpod.reader.pages import paging, questions
from dbtpod.reader.pages.recorded import Row
from dbtpod.reader.pages.site import Site

_SIZE = 50
# What the list can be narrowed to; "" is all.
_STATES = ("", "completed", "failed", "crashed", "running")


def page(site: Site, request: Request) -> Response:
    """List the runs, the newest first."""
    given = request.query_params.get("state", "")
    state = given if given in _STATES else ""
    with site.history() as history:
        counted = history.row(questions.COUNT_RUNS, state)
        part = paging.of(request, counted["n"] if counted else 0, _SIZE)
        found = history.rows(questions.RUNS, state, part.size, part.offset)
        drawn = history.rows(questions.RUNS_DRAWN, state)
    values = {
        "runs": found,
        "paging": part,
        "state": state,
        "states": _STATES,
        "chart": chart(drawn[::-1]),
        "history": history,
        "numbers": site.generations(),
    }
    return site.page(request, "runs.html", values)


def chart(drawn: Sequence[Row]) -> dict[str, Any]:
    """Return what charts.js draws: the minutes of each run, and which of them failed."""
    times = [one["started"].timestamp() for one in drawn]
    good = [one["seconds"] if one["state"] == "completed" else None for one in drawn]
    bad = [None if one["state"] == "completed" else one["seconds"] for one in drawn]
    lines = [
        {"label": "Completed", "tone": "accent", "values": good},
        {"label": "Failed", "tone": "bad", "values": bad},
    ]
    return {"times": times, "unit": "seconds", "lines": lines, "links": [one["run_id"] for one in drawn]}
