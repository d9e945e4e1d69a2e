"""A list in parts."""

from dataclasses import dataclass

from starlette.requests import Request


@dataclass(frozen=True)
class Paging:
    """One part of a list; the first is 1."""

    number: int
    size: int
    total: int

    @property
    def last(self) -> int:
        """The number of the last part."""
        return max(1, -(-self.total // self.size))

    @property
    def offset(self) -> int:
        """So many are before it."""
        return (self.number - 1) * self.size

    @property
    def end(self) -> int:
        """The number of its last item, counted from 1."""
        return min(self.total, self.offset + self.size)


def of(request: Request, total: int, size: int) -> Paging:
    """Return the part that the address asks for, or the nearest that there is."""
    given = request.query_params.get("page", "1")
    number = int(given) if given.isascii() and given.isdecimal() and len(given) < 9 else 1
    last = Paging(1, size, total).last
    return Paging(min(max(1, number), last), size, total)
