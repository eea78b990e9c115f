"""The rows of files that move from one backend to another.

A file that moves keeps its key: only the name of the backend changes in its row. Keys are random
and never given twice, so a backend and a key name one file's row or none, and no change that is
guarded by the two can touch another file.

It must not know storages.
"""

from collections.abc import Collection as Some
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from models import Base, Collection, File, Upload
from services.database import Database
from services.mirroring import Mirrors
from services.upload_rows import EXPIRED

PAGE: Final = 500
"""Rows that are read at a time."""

_FILES: Final = Base.metadata.tables[File.__tablename__]
_FILL: Final = (
    _FILES.update()
    .where(
        _FILES.c.backend == bindparam("on"),
        _FILES.c.key == bindparam("at"),
        _FILES.c.sha256.is_(None),
    )
    .values(sha256=bindparam("found"))
)


class Row(NamedTuple):
    """A ready file as its move needs it. `size` is in bytes, `sha256` lowercase hex or None."""

    key: str
    id: str
    size: int
    sha256: str | None
    content_type: str


_COLUMNS: Final = (File.key, File.id, File.size, File.sha256, File.content_type)


class Rows:
    """The files of one collection, or of all, on their way between two backends."""

    def __init__(
        self,
        database: Database,
        source: str,
        target: str,
        collection: str | None = None,
        mirrors: Mirrors | None = None,
    ) -> None:
        self._database = database
        self._source = source
        self._target = target
        self._collection = collection
        self._mirrors = mirrors

    def to_move(self, after: int) -> Iterator[Row]:
        """Yield the files on the source in the order of their keys, of those above a number."""
        last = ""
        while page := self._page(last, after):
            yield from page
            last = page[-1].key

    def count(self, backend: str) -> tuple[int, int]:
        """Return how many files a backend has, and their bytes."""
        number = select(func.count(), func.coalesce(func.sum(File.size), 0))
        with self._database.read() as session:
            files, size = session.execute(number.where(*self._ready_on(backend))).one()
        return files, int(size)

    def number_on_target(self) -> int:
        """Return how many files are on the target, of any collection."""
        number = select(func.count()).where(File.backend == self._target)
        with self._database.read() as session:
            return session.scalar(number) or 0

    def last_number(self) -> int:
        """Return the number of the file that appeared last."""
        with self._database.read() as session:
            return session.scalar(select(func.max(File.number))) or 0

    def count_uploads(self) -> int:
        """Return how many uploads have bytes on the source and are no file yet."""
        unfinished = select(func.count()).where(
            Upload.backend == self._source,
            Upload.file_id.is_(None),
            Upload.state != EXPIRED,
            *([Upload.collection == self._collection] if self._collection else []),
        )
        with self._database.read() as session:
            return session.scalar(unfinished) or 0

    def switch(
        self,
        session: Session,
        keys: Some[str],
        digests: Mapping[str, str],
        also: Some[str] = (),
    ) -> set[str]:
        """Have the rows with `keys` name the target, and return which of `keys` and `also` do.

        Rows that are gone, or of files that are ready no more, are left. `digests` are SHA-256 by
        key, for rows that have none. Asked a second time, it answers the same.
        """
        here = (_FILES.c.key.in_(keys), *_are_ready_on(self._source))
        session.execute(_FILES.update().where(*here).values(backend=self._target))
        filled = [{"on": self._target, "at": k, "found": d} for k, d in digests.items()]
        if filled:
            session.execute(_FILL, filled)
        wanted = [*keys, *also]
        there = select(File.key).where(File.backend == self._target, File.key.in_(wanted))
        found = set(session.scalars(there))
        if self._mirrors is not None:
            self._mirrors.to_copy(session, ((self._target, key) for key in keys if key in found))
        return found

    def on_source(self, key: str) -> bool:
        """Say whether a ready file with this key is on the source."""
        there = select(File.number).where(File.key == key, *_are_ready_on(self._source))
        with self._database.read() as session:
            return session.scalar(there) is not None

    def on_target(self, keys: Some[str]) -> list[str]:
        """Return those of `keys` under which the target has a ready file."""
        query = select(File.key).where(File.key.in_(keys), *self._ready_on(self._target))
        with self._database.read() as session:
            return list(session.scalars(query))

    def named(self, session: Session, keys: Some[str]) -> dict[str, tuple[str, int]]:
        """Return backend and size of the files with one of `keys`, in any state, by key."""
        either = File.backend.in_((self._source, self._target))
        query = select(File.key, File.backend, File.size).where(either, File.key.in_(keys))
        return {key: (backend, size) for key, backend, size in session.execute(query)}

    def has_collection(self) -> bool:
        """Say whether the collection is there, if one was named."""
        if self._collection is None:
            return True
        there = select(Collection.name).where(Collection.name == self._collection)
        with self._database.read() as session:
            return session.scalar(there) is not None

    def is_redirected_to(self) -> bool:
        """Say whether some collection sends its readers to the store itself."""
        with self._database.read() as session:
            some = select(Collection.name).where(Collection.delivery == "redirect").limit(1)
            return session.scalar(some) is not None

    def kept_on_source(self) -> list[str]:
        """Return the collections that ask for the source by name for their new files."""
        theirs = select(Collection.name).where(Collection.backend == self._source)
        if self._collection is not None:
            theirs = theirs.where(Collection.name == self._collection)
        with self._database.read() as session:
            return list(session.scalars(theirs.order_by(Collection.name)))

    def _page(self, last: str, after: int) -> list[Row]:
        query: Select[*tuple[Any, ...]] = select(*_COLUMNS).where(
            *self._ready_on(self._source), File.key > last, File.number > after
        )
        with self._database.read() as session:
            rows = session.execute(query.order_by(File.key).limit(PAGE))
            return list(map(Row._make, rows))

    def _ready_on(self, backend: str) -> Iterator[ColumnElement[bool]]:
        yield from _are_ready_on(backend)
        if self._collection is not None:
            yield File.collection == self._collection


def _are_ready_on(backend: str) -> tuple[ColumnElement[bool], ...]:
    return (_FILES.c.backend == backend, _FILES.c.state == "ready")
