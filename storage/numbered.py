"""What all backends hold numbered parts to. Knows the contract only."""

from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, Final

from storage.base import CHUNK_SIZE
from storage.capabilities import Part
from storage.errors import IntegrityError

MAXIMUM_PARTS: Final = 10_000


def require_number(number: int) -> int:
    """Return the number of a part as it is, or raise ValueError."""
    if not 1 <= number <= MAXIMUM_PARTS:
        raise ValueError(f"parts are numbered from 1 to {MAXIMUM_PARTS}")
    return number


def require_order(parts: list[Part]) -> None:
    """Raise ValueError for no parts, and IntegrityError unless their numbers ascend."""
    if not parts:
        raise ValueError("an upload is completed from at least one part")
    if any(first.number >= second.number for first, second in pairwise(parts)):
        raise IntegrityError("the parts of an upload are out of order")


def pieces_of(data: bytes | BinaryIO) -> Iterator[bytes]:
    """Yield what is given as bytes or as a file, in pieces that memory has room for."""
    if isinstance(data, bytes):
        yield data
        return
    while piece := data.read(CHUNK_SIZE):
        yield piece
