"""The builds that are kept; and one of them: its facts, how it differs from the one before, the way back to it."""

from starlette.requests import Request
from starlette.responses import Response

from dbtpod.errors import WarehouseUnusable
from dbtpod.reader.pages import questions
from dbtpod.reader.pages.recorded import Row
from dbtpod.reader.pages.site import Site
from dbtpod.warehouse import comparison
from dbtpod.warehouse.builds import HISTORY, Builds, fault
from dbtpod.warehouse.facts import Generation


def page(site: Site, request: Request) -> Response:
    """List the generations, the newest first, then the previews."""
    kept = site.reader.kept
    problems: list[str] = []
    pointer = kept.generations.pointer()
    if pointer.problem:
        problems.append(f"{kept.volume.current} {pointer.problem}.")
    values = {
        "generations": _listed(kept.generations, problems),
        "previews": _listed(kept.previews, problems),
        "current": pointer.number,
        "problems": problems,
        "keep": kept.publisher.keep,
    }
    return site.page(request, "generations.html", values)


def one(site: Site, request: Request) -> Response:
    """Show one generation."""
    number = request.path_params["number"]
    if found := site.redirect(request, number):
        return found
    generation = site.generation(number)
    there = site.generations()
    before = _before(there, generation)
    has_data = not generation.is_remote
    is_compared = before and has_data and not before.is_remote
    difference = site.differences.between(before, generation) if before and is_compared else None
    with site.history() as history:
        run = history.row(questions.RUN, generation.run)
        measured = history.rows(questions.RELATIONS, generation.number)
    problem = _problem(generation)
    with site.opened(generation) as opened:
        relations = measured or opened.rows(questions.IN_FILE)
    manifest = site.manifests.of(generation)
    by_place = {node.place: node.id for node in manifest.nodes.values() if node.place[1]}
    values = {
        "generation": generation,
        "problem": problem,
        "is_current": site.reader.kept.generations.is_current(generation.number),
        "numbers": list(there),
        "before": before,
        "has_data": has_data,
        "difference": difference,
        "changes": [(change, comparison.cells(change)) for change in difference.changes] if difference else [],
        "run": run,
        "relations": [_with_node(each, by_place) for each in relations],
        "is_measured": bool(measured),
        "has_history": generation.database.with_name(HISTORY).is_file(),
        "manifest": manifest,
    }
    return site.page(request, "generation.html", values)


def _listed(builds: Builds, problems: list[str]) -> list[Generation]:
    """Return the builds of one place, the newest first, and note what is wrong with their facts."""
    try:
        found = [each for number in builds.entries() if (each := builds.read(number))]
    except WarehouseUnusable as error:
        problems.append(str(error))
        return []
    problems += [f"{one.database.parent.name}/generation.json {damage}." for one, damage in found if damage]
    return [one for one, _ in reversed(found)]


def _problem(generation: Generation) -> str:
    """Say why its file is not whole, or cannot be read here; "" where it is."""
    try:
        found = fault(generation)
    except WarehouseUnusable as error:
        return str(error)
    return f"{generation.database.name} {found}." if found else ""


def _before(there: dict[int, Generation], generation: Generation) -> Generation | None:
    """Return the generation that it was built from; where that is gone, the one before it."""
    if generation.base in there:
        return there[generation.base]
    return there.get(max((number for number in there if number < generation.number), default=0))


def _with_node(relation: Row, by_place: dict[tuple[str, str], str]) -> Row:
    return relation | {"node_id": by_place.get((relation["schema"], relation["name"]))}
