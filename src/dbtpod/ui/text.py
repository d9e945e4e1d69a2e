"""How results read in a sentence, a table cell or a code block; pure."""

import re
from collections.abc import Iterable, Sequence

from dbtpod.dbt.node import NodeResult
from dbtpod.dbt.results import RunReport, counts

# dbt's first line of a message only says of which node it is, which stands beside it already.
_WHERE = re.compile(r"^\s*(Runtime|Database|Compilation) Error in .*\n")

_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def one_line(node: NodeResult, longest: int = 300) -> str:
    """Say in one line what dbt says of the node, or how old a source is; then where its failing rows are."""
    said = freshness(node) or " ".join(_WHERE.sub("", node.message).split())
    where = f"; failing rows are in {node.failures_table}" if node.failures_table else ""
    return truncate(said, longest, node.place) + where


def freshness(node: NodeResult) -> str:
    """Say how old a source is and what its thresholds are; empty for anything else."""
    if node.age is None:
        return ""
    limits = {"warn": node.warn_after, "error": node.error_after}
    said = [f"{name} after {duration(limit)}" for name, limit in limits.items() if limit is not None]
    return ", ".join([f"is {duration(node.age)} old", *said])


def duration(seconds: float) -> str:
    """Write a time in two units at most; days are used from 48 h on.

    >>> [duration(seconds) for seconds in (0.4, 200, 12000, 108000, 273600)]
    ['0.4 s', '3 min 20 s', '3 h 20 min', '30 h', '3 d 4 h']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    sizes = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    first = next(i for i, (size, _) in enumerate(sizes) if seconds >= size * (2 if size == 86400 else 1))
    (size, unit), (small, small_unit) = sizes[first], sizes[first + 1]
    whole, rest = divmod(int(seconds), size)
    return f"{whole} {unit} {rest // small} {small_unit}" if rest // small else f"{whole} {unit}"


def count_text(report: RunReport) -> str:
    """Count the nodes by their status, without the zeros: "19 success, 1 warn, 1 error"."""
    return ", ".join(f"{count} {status.value}" for status, count in counts(report).items() if count)


def first_of(items: Sequence[str], separator: str, most: int) -> str:
    """Name the first of the items and count the rest.

    >>> first_of(["a", "b", "c"], ", ", 1)
    'a, and 2 more'
    """
    more = [f"and {len(items) - most} more"] if len(items) > most else []
    return separator.join([*items[:most], *more])


def truncate(text: str, longest: int, place: str = "") -> str:
    """Cut the text to that length, with an ellipsis for what is missing, and the place where the whole text is.

    >>> truncate("x" * 100, 40, "a.log")
    'xxxxxxxxxxxxxxxxxx … (whole text: a.log)'
    """
    if len(text) <= longest:
        return text
    end = f" {_ELLIPSIS} (whole text: {place})" if place else f" {_ELLIPSIS}"
    return text[: max(0, longest - len(end))].rstrip() + end


def truncate_middle(text: str, longest: int, place: str) -> str:
    """Cut the middle out: a Python traceback begins with the place and ends with the reason. See `truncate`."""
    if len(text) <= longest:
        return text
    middle = f" {_ELLIPSIS} (whole text: {place}) {_ELLIPSIS} "
    room = max(0, longest - len(middle))
    return text[: room // 3] + middle + text[len(text) - (room - room // 3) :]


def section(title: str, body: str) -> str:
    """Write a part of a report under its title; empty without a body."""
    return f"## {title}\n\n{body}" if body else ""


def markdown_table(head: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    """Write a markdown table; empty without rows.

    >>> print(markdown_table(["node", "rows"], [["fct_orders", "520"]]))
    | node | rows |
    | --- | --- |
    | fct\\_orders | 520 |
    """
    lines = [f"| {' | '.join(escape_markdown(cell) for cell in row)} |" for row in cells]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines]) if lines else ""


def escape_markdown(text: str) -> str:
    """Write the text on one line, with a backslash before what markdown or HTML would take for its own."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def code_block(text: str, language: str) -> str:
    """Write a code block whose fence is longer than any row of backticks in the text."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text) or [""]))
    return f"{fence}{language}\n{text}\n{fence}"
