"""One run: its commands, its timing by thread, its failures."""

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dbtpod.reader.pages import gantt, questions
from dbtpod.reader.pages.recorded import Row
from dbtpod.reader.pages.site import Site

_MOST_SLOW = 10


def page(site: Site, request: Request) -> Response:
    """Show one run."""
    run_id = request.path_params["run_id"]
    with site.history() as history:
        run = history.row(questions.RUN, run_id)
        if run is None and history.is_there and not history.problem:
            raise HTTPException(404, f"The history has no run {run_id[:60]}: it may be older than what is kept.")
        nodes = history.rows(questions.RUN_NODES, run_id)
        values = {
            "run": run,
            "run_id": run_id,
            "commands": history.rows(questions.COMMANDS, run_id),
            "checks": history.rows(questions.SOURCE_CHECKS, run_id),
            "beside": history.row(questions.BEFORE_AND_AFTER, run_id),
            "history": history,
        }
    last = last_attempts(nodes)
    slow = sorted((one for one in last if one["seconds"]), key=lambda one: -one["seconds"])[:_MOST_SLOW]
    numbers = site.generations()
    current = site.current()
    made = run["generation"] if run else None
    values |= {
        "nodes": last,
        "gantt": gantt.draw(nodes),
        "failures": [one for one in last if one["status"] in questions.BAD],
        "warnings": [one for one in last if one["status"] == "warn"],
        "skipped": [one for one in last if one["status"] == "skipped"],
        "slow": slow,
        # Whose pages its nodes have: those of what it published, or of what is there.
        "number": made if made in numbers else current.number if current else None,
        "is_kept": made in numbers,
    }
    return site.page(request, "run.html", values)


def last_attempts(nodes: Sequence[Row]) -> list[Row]:
    """Return of each node what the last attempt at it says."""
    return list({one["node_id"]: one for one in nodes}.values())
