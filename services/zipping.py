"""Files in one zip, as a stream whose length and bytes are known before: nothing is compressed.

The bytes come from Python's own `zipfile`, which writes into a sink that cannot seek. Equal
members give equal bytes, so that a download that was cut goes on where it stopped. What is in the
files, and where they lie, is not known here. APPNOTE.TXT 6.3.10 §4.3 is the format.
"""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.filenames import LONGEST

_LARGE: Final = 1024**3
"""Bytes from which a member gets the fields of Zip64, which older programs do not read."""

_MODE: Final = 0o100644 << 16
_ROOM_FOR_NUMBER: Final = len(" (10000)")
_LOCAL_HEADER: Final = 30
_CENTRAL_HEADER: Final = 46
_END: Final = 22
_END_64: Final = 56 + 20
_DESCRIPTOR: Final = 16
_DESCRIPTOR_64: Final = 24
_SIZES_64: Final = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in the archive under one name. `size` is in bytes, `modified` aware."""

    name: str
    size: int
    modified: datetime

    @property
    def is_large(self) -> bool:
        """Whether it takes the wider fields."""
        return self.size >= _LARGE


class _Sink:
    """A file that cannot seek: what is written into it is taken out again at once."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Hold nothing back; `zipfile` asks for this."""

    def close(self) -> None:
        """There is nothing to close."""

    def take(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        return iter(pieces)


def zipped(members: Iterable[tuple[Entry, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield the archive of `members`, each with its bytes, which are read when their turn comes."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for entry, pieces in members:
            with archive.open(_info(entry), "w", force_zip64=entry.is_large) as member:
                for piece in pieces:
                    member.write(piece)
                    yield from sink.take()
            yield from sink.take()
    yield from sink.take()


def zipped_size(entries: Iterable[Entry]) -> int:
    """Return how many bytes `zipped` yields for these entries."""
    count = files = directory = 0
    for entry in entries:
        name = len(entry.name.encode())
        # The directory tells the size (twice) and the place where they do not fit into 31 bits.
        wide = 2 * (entry.size > zipfile.ZIP64_LIMIT) + (files > zipfile.ZIP64_LIMIT)
        directory += _CENTRAL_HEADER + name + (4 + 8 * wide if wide else 0)
        files += _LOCAL_HEADER + name + entry.size
        files += _SIZES_64 + _DESCRIPTOR_64 if entry.is_large else _DESCRIPTOR
        count += 1
    is_large = count > zipfile.ZIP_FILECOUNT_LIMIT or max(files, directory) > zipfile.ZIP64_LIMIT
    return files + directory + (_END_64 if is_large else 0) + _END


def distinct(names: Iterable[str]) -> Iterator[str]:
    """Yield each name, with a number before its extension where one like it came earlier.

    Names that differ only in case are alike: some file systems hold one of them. With its number
    a name has at most LONGEST bytes, as without.
    """
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for name in names:
        stem, ending = _parted(name)
        alike = f"{stem}{ending}".casefold()
        given, number = name, numbers.get(alike, 1)
        while given.casefold() in taken:
            number += 1
            given = f"{stem} ({number}){ending}"
        numbers[alike] = number
        taken.add(given.casefold())
        yield given


def _parted(name: str) -> tuple[str, str]:
    """Return what stands before a number and what after it, with room for the number."""
    stem, dot, extension = name.rpartition(".")
    ending = dot + extension
    room = LONGEST - _ROOM_FOR_NUMBER - len(ending.encode())
    if not (dot and stem) or room <= 0:
        stem, ending, room = name, "", LONGEST - _ROOM_FOR_NUMBER
    return stem.encode()[:room].decode("utf-8", "ignore"), ending


def _info(entry: Entry) -> zipfile.ZipInfo:
    moment = entry.modified.astimezone(UTC)
    info = zipfile.ZipInfo(entry.name, moment.timetuple()[:6])
    info.external_attr = _MODE
    return info
