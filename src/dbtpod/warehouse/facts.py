"""The small files beside the data, generation.json and owner.json: conveniences, read whatever state they are in.

What cannot be read, or has another type than it should, is taken from the folder or left out, and `damage` says so.
Unknown keys are of a newer version and are ignored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

UNKNOWN = "unknown"
MANIFEST = "manifest.json"
_MISSING = "is missing"


@dataclass(frozen=True)
class Generation:
    """A published build."""

    number: int
    run: str
    at: datetime
    size: int  # bytes of `database` when it was published; of the file as it is where that is not known
    # The generation that the build began from; None for the first, and where it is not known.
    base: int | None
    dbtpod: str
    duckdb: str
    # The DuckDB file; dbt's manifest.json where the data is in a database server.
    database: Path

    @property
    def is_remote(self) -> bool:
        """Whether the data is in a database server, and nothing of it here."""
        return self.database.name == MANIFEST


@dataclass(frozen=True)
class Owner:
    """The flow run that the working copy belongs to, and the generation that it began from."""

    run: str
    base: int | None


def generation(path: Path, number: int, database: Path) -> tuple[Generation, str]:
    """Read generation.json of the generation `number`; what is wrong with it, or "". FileNotFoundError: no database."""
    status = database.stat()
    values, damage = _values(path)
    facts = _Facts(values)
    facts.check("number", values.get("number") == number)
    found = Generation(
        number,
        facts.text("run"),
        facts.time("at", datetime.fromtimestamp(status.st_mtime, UTC)),
        facts.count("size", status.st_size),
        facts.number_or_none("base"),
        facts.text("dbtpod"),
        facts.text("duckdb"),
        database,
    )
    return found, damage or facts.damage


def owner(path: Path) -> tuple[Owner | None, str]:
    """Read owner.json: None where there is none, or none that can be understood; then the text says why."""
    values, damage = _values(path)
    if damage:
        return None, "" if damage == _MISSING else damage
    facts = _Facts(values)
    found = Owner(facts.text("run"), facts.number_or_none("base"))
    return (None, facts.damage) if facts.damage else (found, "")


def as_json(found: Generation) -> dict[str, object]:
    """Return what generation.json holds."""
    names = ("number", "run", "size", "base", "dbtpod", "duckdb")
    return {name: getattr(found, name) for name in names} | {"at": found.at.isoformat()}


def _values(path: Path) -> tuple[Mapping[str, object], str]:
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, "is a link that leads nowhere" if path.is_symlink() else _MISSING
    except OSError as error:
        return {}, f"cannot be read ({error.strerror})"
    except (ValueError, RecursionError):
        return {}, "is not JSON"
    return (values, "") if isinstance(values, dict) else ({}, "is not a JSON object")


class _Facts:
    """Reads values of the type that they should have, and remembers those that had another."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self._wrong: list[str] = []

    @property
    def damage(self) -> str:
        return f"has no usable {', '.join(self._wrong)}" if self._wrong else ""

    def check(self, name: str, right: bool) -> bool:
        if not right:
            self._wrong.append(name)
        return right

    def text(self, name: str) -> str:
        value = self._values.get(name)
        # Printable: a line feed would break a table, and half a surrogate pair cannot be written at all.
        right = isinstance(value, str) and bool(value) and value.isprintable()
        return str(value) if self.check(name, right) else UNKNOWN

    def count(self, name: str, otherwise: int) -> int:
        value = self._values.get(name)
        right = type(value) is int and value > 0
        return value if self.check(name, right) and isinstance(value, int) else otherwise

    def number_or_none(self, name: str) -> int | None:
        value = self._values.get(name)
        return None if name in self._values and value is None else self.count(name, 0) or None

    def time(self, name: str, otherwise: datetime) -> datetime:
        value = self._values.get(name)
        try:
            found = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            found = None
        right = self.check(name, found is not None and found.tzinfo is not None)
        return found if right and found else otherwise
