"""How a build that was kept aside differs from what it began from, for the run's report; pure."""

from collections.abc import Sequence

from dbtpod.ui.text import code_block, markdown_table, section
from dbtpod.warehouse.comparison import Change, cells

_MOST_ROWS = 50


def commands(name: str) -> tuple[str, str]:
    """Return what compares a preview with what readers see, and what publishes it."""
    return f"dbtpod generations diff current {name}", f"dbtpod generations publish {name}"


def markdown(name: str, base: int | None, changes: Sequence[Change] | str) -> str:
    """Write the part of the report: what differs, or why that is not known, and what can be done with the preview."""
    began = f"generation {base}" if base else "nothing"
    return section(
        f"Kept aside as {name}",
        "\n\n".join(
            (
                f"Built from {began}. Readers do not see it; it can be published as long as that is what they see.",
                code_block("\n".join(commands(name)), "sh"),
                changes if isinstance(changes, str) else _table(changes, began),
            )
        ),
    )


def _table(changes: Sequence[Change], began: str) -> str:
    if not changes:
        return f"It holds the same as {began}."
    head = ("", "table or view", "rows before", "rows after", "added", "removed", "changed", "columns")
    rows = [(one.what, one.name, *cells(one)) for one in changes[:_MOST_ROWS]]
    more = f"\n\nAnd {len(changes) - _MOST_ROWS} more." if len(changes) > _MOST_ROWS else ""
    return markdown_table(head, rows) + more
