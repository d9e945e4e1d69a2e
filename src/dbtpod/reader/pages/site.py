"""What all pages share: the reader, the templates, and what is kept between two requests."""

from collections.abc import Mapping
from dataclasses import dataclass

from jinja2 import Environment
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dbtpod.docs.made import Made
from dbtpod.reader.files import CURRENT
from dbtpod.reader.pages import rendering
from dbtpod.reader.pages.differences import Differences
from dbtpod.reader.pages.manifest import Manifests
from dbtpod.reader.pages.parents import Lineages
from dbtpod.reader.pages.recorded import Answers, Opened
from dbtpod.reader.pages.server import Server
from dbtpod.reader.settings import Reader
from dbtpod.warehouse.builds import HISTORY
from dbtpod.warehouse.facts import Generation


@dataclass(frozen=True)
class Site:
    """The reader as its pages see it."""

    reader: Reader
    templates: Environment
    answers: Answers
    manifests: Manifests
    differences: Differences
    server: Server
    made: Made
    lineages: Lineages

    def history(self) -> Opened:
        """Open the newest history; where there is none, or it is damaged, it has no rows and says why."""
        return Opened(self.reader.kept.volume.history / HISTORY, self.answers)

    def opened(self, generation: Generation) -> Opened:
        """Open the DuckDB file of a generation; it has no rows where the data is in a database server."""
        path = generation.database.parent / self.reader.kept.volume.database.name
        return Opened(path, self.answers)

    def generations(self) -> dict[int, Generation]:
        """Return those there are, the oldest first."""
        return {one.number: one for one in self.reader.kept.generations.all()}

    def generation(self, number: str) -> Generation:
        """Return the generation of an address; HTTPException 404 names those there are."""
        there = self.generations()
        if number.isascii() and number.isdecimal() and len(number) < 19 and int(number) in there:
            return there[int(number)]
        names = ", ".join(map(str, there)) or "none"
        raise HTTPException(404, f"There is no generation {number[:40]} here, or not any more; there are: {names}.")

    def current(self) -> Generation | None:
        """Return the generation that readers see; None where nothing is published, or the link is lost."""
        number = self.reader.kept.generations.pointer().number
        found = self.reader.kept.generations.read(number) if number is not None else None
        return found[0] if found else None

    def redirect(self, request: Request, number: str) -> Response | None:
        """Return the way from `current` to the number that it stands for now; None for a number."""
        if number != CURRENT:
            return None
        current = self.current()
        if current is None:
            raise HTTPException(404, "Nothing is published yet: the first run that builds makes generation 1.")
        path = request.url.path.replace(f"/generations/{CURRENT}", f"/generations/{current.number}", 1)
        return RedirectResponse(path, 307, {"Cache-Control": "no-store"})

    def page(self, request: Request, name: str, values: Mapping[str, object]) -> Response:
        """Render a page."""
        shared = {"ui_url": (self.reader.ui_url or "").rstrip("/"), "stem": self.reader.kept.volume.database.stem}
        shared["server"] = self.reader.server
        return rendering.page(self.templates, request, name, shared | dict(values))


def of(reader: Reader, made: Made) -> Site:
    """Return the site of a reader."""
    return Site(
        reader=reader,
        templates=rendering.templates(),
        answers=Answers(),
        manifests=Manifests(),
        differences=Differences(),
        server=Server(reader.api, reader.api_login),
        made=made,
        lineages=Lineages(made),
    )
