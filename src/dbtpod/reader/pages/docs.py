"""dbt docs of a generation, one file, which is made when it is first asked for."""

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from dbtpod.reader.pages.site import Site

# dbt's page has its scripts and styles inside, and shows what users wrote as HTML: it gets an origin of its own, so
# that nothing in it can read other pages.
_POLICY = (
    "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data:; font-src data:; connect-src 'none'; base-uri 'none'; form-action 'none'"
)


def page(site: Site, request: Request) -> Response:
    """Answer with the file, or say that it is being made, or why it could not be made."""
    number = request.path_params["number"]
    if found := site.redirect(request, number):
        return found
    generation = site.generation(number)
    answer = site.made.docs(generation)
    if answer.path is None:
        return site.page(request, "docs.html", {"generation": generation, "answer": answer})
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "private, no-cache"}
    return FileResponse(answer.path, media_type="text/html", headers=headers)
