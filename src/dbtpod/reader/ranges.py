"""Which bytes of a file a request asks for (RFC 9110, section 14).

Starlette's FileResponse is not used: it opens the path again for each answer, where a removed generation is gone; it
refuses all ranges because of one behind the end, and sends the whole file for more ranges than it likes.
"""

import re

# A program that reads a file in pieces asks for one at a time; a download manager for a few.
MOST = 16


class NotSatisfiable(Exception):
    """None of it is in the file, or it is more than a client needs."""


def wanted(header: str | None, size: int) -> list[tuple[int, int]] | None:
    """Return begin and end of each range, the end excluded; None where the whole file is asked for.

    >>> wanted("bytes=0-3, -2", 10), wanted("bytes=4-", 10), wanted(None, 10)
    ([(0, 4), (8, 10)], [(4, 10)], None)
    """
    unit, _, given = (header or "").partition("=")
    if unit.strip().lower() != "bytes":
        return None  # A unit that we do not know is as none at all.
    specs = [one.strip() for one in given.split(",", MOST + 1)]
    if len(specs) > MOST:
        raise NotSatisfiable(f"That is more than {MOST} ranges in one request.")
    parsed = [re.fullmatch("([0-9]{0,19})-([0-9]{0,19})", one, re.ASCII) for one in specs]
    found = []
    for spec, match in zip(specs, parsed, strict=True):
        first, last = match.groups() if match else ("", "")
        if (not first and not last) or (first and last and int(first) > int(last)):
            raise NotSatisfiable(f"{spec[:50]!r} is no range of bytes.")
        begin = int(first) if first else max(0, size - int(last))
        end = min(size, int(last) + 1) if first and last else size
        if begin < end:
            found.append((begin, end))
    if not found:
        raise NotSatisfiable(f"The file has {size} bytes.")
    if sum(end - begin for begin, end in found) > size:
        raise NotSatisfiable("The ranges overlap: together they are more than the file.")
    return found
