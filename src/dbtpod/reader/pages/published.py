"""From a run to what it published: reports link here, as they are written before there is a generation."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dbtpod.reader.pages.site import Site


def generation(site: Site, request: Request) -> Response:
    """Lead to the generation of a run; to the run where it published none, or that one is gone."""
    return _to(site, request, "")


def docs(site: Site, request: Request) -> Response:
    """Lead to the docs of it."""
    return _to(site, request, "/docs")


def _to(site: Site, request: Request, page: str) -> Response:
    run_id = request.path_params["run_id"]
    found = [number for number, one in site.generations().items() if one.run == run_id]
    below = f"generations/{found[-1]}{page}" if found else f"runs/{run_id}"
    # Relative to /runs/<id>/generation, whatever is before it.
    return RedirectResponse(f"../../{below}", 307, {"Cache-Control": "no-store"})
