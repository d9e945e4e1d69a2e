"""What is known of a backup, as its backup.json has it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dbtpod.errors import BackupUnusable
from dbtpod.warehouse.builds import folder_name
from dbtpod.warehouse.facts import Generation

# Another layout gets another number.
FORMAT = 1


@dataclass(frozen=True)
class Backup:
    """A generation in S3: one export, as `dbtpod export` makes it."""

    name: str
    generation: int
    run: str
    at: datetime
    # The DuckDB file's name, whose stem the views in it hold.
    database: str
    # Of the export, in bytes, and its SHA-256.
    size: int
    digest: str
    # The number of rows of each table.
    rows: Mapping[str, int]


def name_of(one: Generation) -> str:
    """Return the name of its backup: by the time first, as a volume that was lost begins to count again.

    >>> from pathlib import Path
    >>> at = datetime(2026, 11, 23, 6, 0, 19, tzinfo=UTC)
    >>> name_of(Generation(7, "run", at, 1, None, "0.1.0", "1.5.6", Path("warehouse.duckdb")))
    '20261123T060019Z-000007'
    """
    return f"{one.at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{folder_name(one.number)}"


def as_json(backup: Backup) -> bytes:
    """Return what backup.json holds."""
    values = {"format": FORMAT} | vars(backup) | {"at": backup.at.isoformat()}
    return json.dumps(values, indent=2).encode()


def from_json(name: str, text: bytes) -> Backup:
    """Read backup.json; BackupUnusable where it is of a newer dbtpod, or none of ours."""
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise BackupUnusable(
                f"The backup {name} is of a newer dbtpod: its format is {values['format']}, and this one reads "
                f"{FORMAT}. Use the dbtpod that made it, or a newer one."
            )
        return Backup(
            name,
            int(values["generation"]),
            str(values["run"]),
            datetime.fromisoformat(values["at"]),
            str(values["database"]),
            int(values["size"]),
            str(values["digest"]),
            {str(table): int(rows) for table, rows in values["rows"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BackupUnusable(f"The backup {name} is damaged: its backup.json is not what was written.") from error
