"""One thing that is wrong in a user's repository, or may be."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFECT_YAML = Path("prefect.yaml")


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to do about it."""

    # Beside the repository's folder where it is in it; None where no one file has it.
    file: Path | None
    line: int | None
    text: str
    # It may be meant.
    is_warning: bool = False

    def lines(self) -> Iterator[str]:
        """Yield what is printed; an editor or a terminal that knows `file:line:` goes there."""
        place = "".join(f"{part}:" for part in (self.file, self.line) if part is not None)
        kind = "warning: " if self.is_warning else ""
        first, *rest = self.text.splitlines()
        yield f"{place} {kind}{first}".strip()
        yield from (f"    {line.strip()}" for line in rest if line.strip())
