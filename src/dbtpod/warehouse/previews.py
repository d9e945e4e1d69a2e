"""Builds that were kept aside: whole, readable, compared and published by a person, or removed by age and number.

previews/000003/        as a generation: warehouse.duckdb, manifest.json, run_results.json, generation.json
previews/numbers.json   the last number that one had: the name `preview-3` never comes back for another build
"""

import json
from dataclasses import dataclass
from pathlib import Path

from dbtpod.warehouse import durable
from dbtpod.warehouse.builds import Builds

PREFIX = "preview-"


@dataclass(frozen=True)
class Previews(Builds):
    """The builds of a volume that are complete and not published."""

    @property
    def place(self) -> Path:
        """Beside the generations, where no link leads."""
        return self.volume.previews

    def name(self, number: int) -> str:
        """Return what it is called on the command line: "preview-3"."""
        return preview_name(number)

    def is_current(self, number: int) -> bool:
        """Say no: readers of what is published never see one."""
        return False

    def way_back(self, number: int) -> str:
        """Say how to be rid of a damaged one."""
        return f"Build it again, and remove it: dbtpod generations remove {self.name(number)}"

    def next_number(self) -> int:
        """Return a number that none had."""
        return max(super().next_number(), self._last() + 1)

    def note(self, number: int) -> None:
        """Remember that this number is taken, also once its preview is gone."""
        durable.write_json(self._numbers, {"last": number})

    @property
    def _numbers(self) -> Path:
        return self.place / "numbers.json"

    def _last(self) -> int:
        # A convenience: where it is damaged, the previews that there are say enough.
        try:
            last = json.loads(self._numbers.read_bytes())["last"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return 0
        return last if type(last) is int else 0


def preview_name(number: int) -> str:
    """Return what a preview is called.

    >>> preview_name(3)
    'preview-3'
    """
    return f"{PREFIX}{number}"
