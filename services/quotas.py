"""Room in a collection: how many files and bytes it may hold, unfinished uploads counted.

    take ──▸ cover … cover ──▸ settle      in the transaction that publishes
      └─────────┴──▸ release, or the reservation ends by itself

An upload on its way holds room in a row of its own, a reservation. Who takes room and who settles
locks the collection's row first (SQLite has one writer anyway), so no two count the same room as
free. A reservation ends at its `expires_at`, which moves on as bytes come: a crash leaks none for
long. Whatever became of it, the files that are published are counted again.

A collection without a quota costs nothing here: whoever calls asks `Policy.has_quota` first.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from models import Collection, Counter, Reservation, now
from services.database import Database
from services.errors import CollectionNotFound, QuotaExceeded
from services.intake import IntakeState
from services.policy import Policy

GROWTH: Final = 8 * 1024 * 1024
"""Bytes by which an upload of unknown size takes room ahead, or all that is left."""

LASTS: Final = timedelta(minutes=15)
"""How long a reservation outlives the last byte that came for it."""

_UNBOUNDED: Final = 2**63 - 1

log = logging.getLogger("holdall.quotas")


@dataclass(frozen=True, slots=True)
class Left:
    """How many more files and bytes a collection has room for; negative where it is over."""

    files: int
    bytes: int

    @property
    def is_bounded(self) -> bool:
        return self.files < _UNBOUNDED or self.bytes < _UNBOUNDED


class Room:
    """What one unfinished upload holds of its collection. Belongs to one thread at a time.

    `id` is the id of the file to be. `files` is 0 for a piece that becomes no file by itself.
    `most` is what the upload has at the most, in bytes, where that is known and its size is not.
    `spent` are reservations that this one takes the place of.
    """

    def __init__(
        self,
        database: Database,
        id: str,
        collection: str,
        owner: str | None,
        *,
        files: int = 1,
        most: int | None = None,
        lasts: timedelta = LASTS,
        spent: Sequence[str] = (),
    ) -> None:
        self.id = id
        self._database = database
        self._collection = collection
        self._owner = owner
        self._files = files
        self._most = _UNBOUNDED if most is None else most
        self._lasts = lasts
        self._spent = tuple(spent)
        self._recorded = 0
        self._enough = -1
        self._renew_at = 0.0

    def reserve(self, size: int, *, ahead: int = 0) -> None:
        """Take room in a transaction of its own. Raises QuotaExceeded."""
        with self._database.write() as session:
            self.take(session, size, ahead=ahead)

    def take(self, session: Session, size: int, *, ahead: int = 0) -> None:
        """Hold room for `size` bytes, and for up to `ahead` more if it is there.

        It counts once the caller's transaction is committed. Raises QuotaExceeded.
        """
        left = left_in(session, self._collection, but=(self.id, *self._spent))
        if left.files < self._files or left.bytes < size:
            raise QuotaExceeded(f"The collection {self._collection} has no room left for this")
        bounded = left.bytes < _UNBOUNDED
        held = max(size, min(size + ahead, self._most, left.bytes)) if bounded else size
        self._recorded, self._enough = held, held if bounded else _UNBOUNDED
        self._renew_at = time.monotonic() + self._lasts.total_seconds() / 3
        if left.is_bounded:
            self._write(session, max(held - self._credit(session), 0))

    def cover(self, size: int) -> None:
        """Make sure that room is held for `size` bytes in all. Raises QuotaExceeded.

        Mostly it is, and then nothing is asked of the database.
        """
        if size <= self._enough and time.monotonic() < self._renew_at:
            return
        self.reserve(max(size, self._recorded), ahead=GROWTH if size > self._enough else 0)

    def grow(self, size: int) -> None:
        """Hold room for `size` bytes at the least; requests at once leave the most of theirs.

        Raises QuotaExceeded.
        """
        with self._database.write() as session:
            left_in(session, self._collection)  # who else would change it waits from here on
            self.take(session, max(size, self._held(session)))

    def fit(self, size: int) -> None:
        """Give back what was taken ahead: `size` bytes came, and no more will."""
        if size < self._recorded:
            with self._database.write() as session:
                self.keep(session, size)

    def keep(self, session: Session, size: int) -> None:
        """Hold `size` bytes from now on, no more than was taken, for as long as at the start."""
        mine = update(Reservation).where(Reservation.id == self.id)
        session.execute(mine.values(bytes=size, expires_at=now() + self._lasts))
        self._recorded = size
        self._enough = min(size, self._enough) if self._enough < _UNBOUNDED else self._enough

    def go_on(self, size: int) -> None:
        """Find what an earlier request took, and have room for `size` bytes. Raises QuotaExceeded.

        What ended meanwhile is taken anew.
        """
        mine = select(Reservation.bytes).where(
            Reservation.id == self.id, Reservation.expires_at > now()
        )
        with self._database.read() as session:
            held = session.scalar(mine)
        if held is None or held < size:
            self.reserve(size)
        else:
            self._recorded = self._enough = held
            self._renew_at = time.monotonic() + self._lasts.total_seconds() / 3

    def release(self) -> None:
        """Give everything back; where that cannot be written down, it ends by itself."""
        try:
            with self._database.write() as session:
                release(session, [self.id])
        except SQLAlchemyError as error:
            log.warning("room was not given back", extra={"reason": type(error).__name__})

    def _held(self, session: Session) -> int:
        mine = select(Reservation.bytes).where(
            Reservation.id == self.id, Reservation.expires_at > now()
        )
        return session.scalar(mine) or 0

    def _write(self, session: Session, size: int) -> None:
        # One statement: what is there may be given back or swept at this moment.
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        held = {"files": self._files, "bytes": size, "expires_at": now() + self._lasts}
        new = insert(Reservation).values(
            id=self.id, collection=self._collection, owner=self._owner, **held
        )
        session.execute(new.on_conflict_do_update(index_elements=["id"], set_=held))

    def _credit(self, session: Session) -> int:
        """Return how many bytes those reservations hold that this one takes the place of."""
        if not self._spent:
            return 0
        live = (Reservation.id.in_(self._spent), Reservation.expires_at > now())
        return int(session.scalar(select(func.sum(Reservation.bytes)).where(*live)) or 0)


class Quotas:
    """Give uploads their rooms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def room(
        self,
        state: IntakeState,
        policy: Policy,
        *,
        files: int = 1,
        most: int | None = None,
        lasts: timedelta = LASTS,
        spent: Sequence[str] = (),
    ) -> Room | None:
        """Return the room of an upload, or None where its collection has no quota."""
        if not policy.has_quota:
            return None
        return Room(
            self._database,
            state.file_id,
            state.collection,
            state.owner,
            files=files,
            most=most,
            lasts=lasts,
            spent=spent,
        )


def left_in(session: Session, collection: str, *, but: Sequence[str] = ()) -> Left:
    """Return what room is left, and let nobody else take any until the transaction ends.

    The reservations `but` are not counted. Raises CollectionNotFound.
    """
    limits = select(Collection.max_files, Collection.max_bytes).where(Collection.name == collection)
    # Not the lock that would wait for files which refer to the row.
    found = session.execute(limits.with_for_update(key_share=True)).first()
    if found is None:
        raise CollectionNotFound(f"No collection is called {collection!r}")
    if found.max_files is None and found.max_bytes is None:
        return Left(_UNBOUNDED, _UNBOUNDED)
    published = select(func.sum(Counter.files), func.sum(Counter.bytes))
    files, size = session.execute(published.where(Counter.collection == collection)).one()
    coming = select(func.sum(Reservation.files), func.sum(Reservation.bytes)).where(
        Reservation.collection == collection,
        Reservation.expires_at > now(),
        Reservation.id.not_in(but),
    )
    more_files, more_bytes = session.execute(coming).one()
    return Left(
        files=_difference(found.max_files, files, more_files),
        bytes=_difference(found.max_bytes, size, more_bytes),
    )


def settle(
    session: Session, collection: str, sizes: Mapping[str, int], *, spent: Sequence[str] = ()
) -> None:
    """Give up what uploads held, as their files are counted from here on, and make sure they fit.

    `sizes` are the bytes of each, by the id of its file. Raises QuotaExceeded, and then nothing
    of the transaction may stay.
    """
    left = left_in(session, collection, but=(*sizes, *spent))
    if left.files < len(sizes) or left.bytes < sum(sizes.values()):
        raise QuotaExceeded(f"The collection {collection} has no room left for this")
    release(session, [*sizes, *spent])


def release(session: Session, ids: Sequence[str]) -> None:
    """Give back what uploads hold."""
    session.execute(delete(Reservation).where(Reservation.id.in_(ids)))


def _difference(limit: int | None, *taken: int | None) -> int:
    return _UNBOUNDED if limit is None else limit - sum(int(each or 0) for each in taken)
