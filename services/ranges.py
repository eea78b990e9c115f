"""Which bytes a Range header asks for, and how several ranges are framed as one body.

RFC 9110 §14. Arithmetic on positions only: it knows neither files nor responses.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

MAX_RANGES: Final = 16
"""Ranges in one request that are looked at; more of them are answered with the whole file."""

MAX_HEADER_LENGTH: Final = 1024
"""Characters that MAX_RANGES ranges of 19 digits fit into. What is longer is not even split."""

_SPEC: Final = re.compile(r"([0-9]*)-([0-9]*)")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `start` (inclusive) to `stop` (exclusive) of a file."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many bytes these are."""
        return self.stop - self.start

    def touches(self, other: "ByteRange") -> bool:
        """Say whether the two overlap or lie end to end."""
        return self.start <= other.stop and other.start <= self.stop

    def content_range(self, size: int) -> str:
        """Return the range as Content-Range says it, the last position included."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


Piece = bytes | ByteRange
"""A stretch of a body: bytes of our own, or bytes of the file."""


def requested_ranges(header: str, size: int) -> tuple[ByteRange, ...] | None:
    """Return the ranges of `size` bytes that answer a Range header, in the order asked for.

    None means that the whole file answers it: the header is malformed, is in another unit than
    bytes, names too many ranges, or asks for more bytes than there are (§14.2 leaves that to the
    server). No ranges at all means that none can be satisfied.
    """
    if len(header) > MAX_HEADER_LENGTH:
        return None
    unit, _, listed = header.partition("=")
    specs = [spec for item in listed.split(",") if (spec := item.strip(" \t"))]
    if unit.lower() != "bytes" or not 0 < len(specs) <= MAX_RANGES:
        return None
    resolved = [_resolve(spec, size) for spec in specs]
    valid = [found for found in resolved if found is not None]
    if len(valid) < len(resolved):
        return None
    satisfiable = [found for found in valid if found.length > 0]
    if len(satisfiable) > 1 and sum(found.length for found in satisfiable) > size:
        return None
    return tuple(coalesce(satisfiable))


def _resolve(spec: str, size: int) -> ByteRange | None:
    """Return the bytes that one range-spec selects, none where it starts past the end.

    None means that it is invalid (§14.1.1), which spoils the whole header. `-0`, and anything
    asked of an empty file, selects nothing.
    """
    match = _SPEC.fullmatch(spec)
    if match is None or spec == "-":
        return None
    first, last = match.groups()
    if not first:
        return ByteRange(max(size - int(last), 0), size)
    start, stop = int(first), int(last) + 1 if last else max(size, int(first) + 1)
    if stop <= start:
        return None
    return ByteRange(min(start, size), min(stop, size))


def coalesce(ranges: Iterable[ByteRange]) -> list[ByteRange]:
    """Join ranges that overlap or lie end to end, in the place of the first (§15.3.7.2)."""
    joined: list[ByteRange] = []
    for new in ranges:
        touching = [place for place, old in enumerate(joined) if old.touches(new)]
        if not touching:
            joined.append(new)
            continue
        parts = [new, *(joined[place] for place in touching)]
        span = ByteRange(min(part.start for part in parts), max(part.stop for part in parts))
        joined[touching[0]] = span
        for place in reversed(touching[1:]):
            del joined[place]
    return joined


def multipart(
    ranges: Iterable[ByteRange], *, size: int, content_type: str, boundary: str
) -> Iterator[Piece]:
    """Yield a `multipart/byteranges` body (§14.6) piece by piece, so that its length is known."""
    lead = ""
    for part in ranges:
        yield (
            f"{lead}--{boundary}\r\n"
            f"Content-Type: {content_type}\r\n"
            f"Content-Range: {part.content_range(size)}\r\n\r\n"
        ).encode("latin-1")
        yield part
        lead = "\r\n"
    yield f"\r\n--{boundary}--\r\n".encode("ascii")


def total_length(pieces: Iterable[Piece]) -> int:
    """Return how many bytes `pieces` are together."""
    return sum(len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces)
