"""The rows and the objects of one backend side by side, in the order of their keys.

Both sides come in pieces, so memory is constant however many there are. Keys are compared byte by
byte everywhere (`models.Ascii`, `storage.keys`), and the walk stands on that. Both sides change
while it goes on: what it finds is a reason to look again, and no more.

It knows keys, and must not know what a difference means.
"""

import heapq
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import bindparam, func, select

from models import File
from services.database import Database
from storage.base import ObjectInfo
from storage.errors import StorageError

BATCH: Final = 1_000
"""Rows that are read at a time."""

PENDING: Final = "pending"
READY: Final = "ready"
ELSEWHERE: Final = "elsewhere"


class Row(NamedTuple):
    """What a file's row says of its object. `state` is READY, in the trash too, or PENDING.

    It is ELSEWHERE for a file of another backend that keeps objects in the same place.
    """

    key: str
    id: str
    size: int
    state: str
    sha256: str | None
    created_at: datetime


class Count(NamedTuple):
    """How many rows a backend has, and the bytes that they promise."""

    rows: int
    size: int


_ROW: Final = select(File.key, File.id, File.size, File.state, File.sha256, File.created_at)
_OF_BACKEND: Final = _ROW.where(File.backend == bindparam("backend"))
_NEXT: Final = (
    _OF_BACKEND.where(File.key > bindparam("after")).order_by(File.key).limit(bindparam("limit"))
)
_THESE: Final = _OF_BACKEND.where(File.key.in_(bindparam("keys", expanding=True)))
_NUMBER: Final = select(func.count(), func.coalesce(func.sum(File.size), 0)).where(
    File.backend == bindparam("backend")
)


class Rows:
    """The rows of files by backend and key. No query takes long, and none is left open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, backend: str, prefix: str = "") -> Iterator[Row]:
        """Yield the rows of a backend whose key begins with `prefix`, in ascending order of key."""
        after = prefix
        while page := self.following(backend, after, BATCH):
            for row in page:
                if not row.key.startswith(prefix):
                    return
                yield row
            after = page[-1].key

    def in_place(
        self, backend: str, neighbours: Collection[str], prefix: str = ""
    ) -> Iterator[Row]:
        """Yield what `of` does, and the rows of `neighbours` in between, as ELSEWHERE."""
        if not neighbours:
            return self.of(backend, prefix)
        others = (map(_elsewhere, self.of(each, prefix)) for each in neighbours)
        return heapq.merge(self.of(backend, prefix), *others, key=lambda row: row.key)

    def following(self, backend: str, after: str, limit: int) -> list[Row]:
        """Return the first rows behind the key `after`."""
        wanted = {"backend": backend, "after": after, "limit": limit}
        with self._database.connect() as connection:
            return list(map(Row._make, connection.execute(_NEXT, wanted).all()))

    def named(self, backend: str, keys: Collection[str]) -> dict[str, Row]:
        """Return the rows that have one of `keys`, by key."""
        wanted = {"backend": backend, "keys": list(keys)}
        with self._database.connect() as connection:
            return {row[0]: Row._make(row) for row in connection.execute(_THESE, wanted)}

    def count(self, backend: str) -> Count:
        """Count the rows of a backend."""
        with self._database.connect() as connection:
            rows, size = connection.execute(_NUMBER, {"backend": backend}).one()
        return Count(rows, int(size))


def _elsewhere(row: Row) -> Row:
    return row._replace(state=ELSEWHERE)


def side_by_side(
    rows: Iterator[Row], objects: Iterator[ObjectInfo]
) -> Iterator[tuple[Row | None, ObjectInfo | None]]:
    """Pair rows and objects by key; None stands for what the other side has not.

    Raises StorageError when the objects come out of order: they could not be paired.
    """
    row, found = next(rows, None), next(objects, None)
    while row is not None or found is not None:
        if found is None or (row is not None and row.key < found.key):
            yield row, None
            row = next(rows, None)
        elif row is None or found.key < row.key:
            yield None, found
            found = _after(found, objects)
        else:
            yield row, found
            row, found = next(rows, None), _after(found, objects)


def _after(last: ObjectInfo, objects: Iterator[ObjectInfo]) -> ObjectInfo | None:
    found = next(objects, None)
    if found is not None and found.key <= last.key:
        raise StorageError("the storage lists objects out of order")
    return found
