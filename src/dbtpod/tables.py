"""A table of text, for a terminal or a log."""

from collections.abc import Sequence


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows, the first one the header, with each column as wide as its widest cell.

    >>> lines([("name", "rows"), ("orders", "2000")])
    ['name    rows', 'orders  2000']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
