"""Templates with their filters, and the answer that holds a page. Whatever comes from a user is escaped."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote, urlencode
from uuid import UUID

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dbtpod.dbt.node import name_of
from dbtpod.reader.pages.questions import BAD
from dbtpod.ui.text import duration
from dbtpod.warehouse.durable import size_text

TEMPLATES = Path(__file__).parent / "templates"
# Statuses and states, and how a page marks them: by a word and a sign, not by colour alone.
_TONES = {
    "good": ("success", "completed", "reused", "pass"),
    "bad": (*BAD, "failed", "crashed"),
    "warn": ("warn", "cancelled", "cancelling"),
    "busy": ("running", "pending", "late"),
}


def templates() -> Environment:
    """Return the templates."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "ago": ago,
        "count": count,
        "duration": lambda seconds: "-" if seconds is None else duration(max(0.0, seconds)),
        "iso": iso,
        "utc": utc,
        "size": size,
        "tone": tone,
        "part": lambda text: quote(str(text), safe=""),
        "query": lambda values: urlencode({name: value for name, value in values.items() if value}),
        "is_run": is_run,
        "node_name": name_of,
    }
    return made


def page(environment: Environment, request: Request, name: str, values: Mapping[str, object]) -> HTMLResponse:
    """Render one page; its links begin with the path that it is served under, whatever stands before us."""
    base = request.scope.get("root_path", "").rstrip("/")
    here = request.url.path.removeprefix(base)
    shared = {"base": base, "here": here, "now": datetime.now(UTC), "version": _version()}
    text = environment.get_template(name).render(shared | dict(values))
    return HTMLResponse(text, headers={"Cache-Control": "private, no-cache"})


@cache
def _version() -> str:
    return version("dbtpod")


def iso(at: datetime) -> str:
    """Write a time for machines."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc(at: datetime) -> str:
    """Write a time for people.

    >>> utc(datetime(2026, 11, 27, 2, 5, tzinfo=UTC))
    '2026-11-27 02:05'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def ago(at: datetime, now: datetime) -> str:
    """Say how long ago a time is, or how far ahead.

    >>> ago(datetime(2026, 11, 27, 2, 5, tzinfo=UTC), datetime(2026, 11, 27, 3, 5, tzinfo=UTC))
    '1 h ago'
    """
    seconds = (now - at).total_seconds()
    if abs(seconds) < 1:
        return "now"
    # Seconds of an hour are no news.
    size = abs(seconds) if abs(seconds) < 60 else abs(seconds) // 60 * 60
    text = duration(size).replace(".0 s", " s") if size >= 60 else f"{int(size)} s"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def count(number: int | None) -> str:
    """Write a number for people.

    >>> count(12345)
    '12,345'
    """
    return "-" if number is None else f"{number:,}"


def size(number: int | None) -> str:
    """Write a number of bytes for people.

    >>> size(44_880), size(6_600_000)
    ('45 kB', '6.6 MB')
    """
    if number is None:
        return "-"
    return size_text(number) if number >= 1e6 else f"{-(-number // 1000)} kB"


def tone(status: str | None) -> str:
    """Say how a status or a state is marked."""
    return next((name for name, words in _TONES.items() if (status or "").lower() in words), "plain")


def is_run(run: str | None) -> bool:
    """Say whether it is a flow run's id: a generation may also come from an import."""
    try:
        return bool(UUID(run or ""))
    except ValueError:
        return False
