"""Every address of the pages, put together."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dbtpod.docs.made import Made
from dbtpod.reader.pages import docs, generations, nodes, one_node, one_run, overview, published, runs, site
from dbtpod.reader.pages.site import Site
from dbtpod.reader.settings import Reader

_STATIC = Path(__file__).parent / "static"
_PAGES: dict[str, Callable[[Site, Request], Response]] = {
    "/": overview.page,
    "/generations": generations.page,
    "/generations/{number}": generations.one,
    "/generations/{number}/docs": docs.page,
    # A name may have a slash.
    "/generations/{number}/nodes/{node_id:path}": one_node.page,
    "/runs": runs.page,
    "/runs/{run_id}": one_run.page,
    "/runs/{run_id}/generation": published.generation,
    "/runs/{run_id}/docs": published.docs,
    "/nodes": nodes.page,
}


def routes(reader: Reader) -> list[BaseRoute]:
    """Return the routes; each page is made in a thread, as none of them is a coroutine."""
    shared = site.of(reader, Made(reader.cache / "made"))
    pages = [Route(path, partial(page, shared), name=path) for path, page in _PAGES.items()]
    return [*pages, Mount("/static", StaticFiles(directory=_STATIC))]
