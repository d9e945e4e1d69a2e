"""What readers see now, what is failing, and what comes next."""

from starlette.requests import Request
from starlette.responses import Response

from dbtpod.reader import files
from dbtpod.reader.pages import questions
from dbtpod.reader.pages.site import Site

_DRAWN = 60


def page(site: Site, request: Request) -> Response:
    """Show the overview."""
    kept = site.reader.kept
    pointer = kept.generations.pointer()
    with site.history() as history:
        last = history.rows(questions.LAST_RUNS, _DRAWN)
        values = {
            "last": last,
            "ended": next((run for run in last if run["state"] != "running"), None),
            "week": history.row(questions.WEEK),
            "failing": history.rows(questions.FAILING),
            "slower": history.rows(questions.SLOWER),
            "history": history,
        }
    current = site.current()
    base = request.scope.get("root_path", "").rstrip("/")
    # DuckDB reads `current` as a whole, and a generation in pieces.
    small = current is not None and current.size <= files.WHOLE_BYTES
    number = "current" if small or current is None else current.number
    return site.page(
        request,
        "overview.html",
        values
        | {
            "current": current,
            "name": next((run["name"] for run in last if current and run["run_id"] == current.run), None),
            "pointer": pointer,
            "plan": site.server.plan() if site.server.is_known else None,
            "has_login": bool(site.reader.login),
            "data": f"{request.url.scheme}://{request.url.netloc}{base}/data/{number}",
            "is_small": small,
            "volume": kept.volume,
        },
    )
