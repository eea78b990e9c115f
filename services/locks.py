"""One request at a time works on an upload, on whatever host: a lease in the upload's own row.

A client that lost its connection comes back while the service may still wait for bytes on the old
one. So who finds the lease taken asks its holder to let go (`lock_wanted_at`), and the holder, who
looks every `LOOK_EVERY` seconds, keeps what it has and releases. The lease of a process that died
ends by itself.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from models import Upload, now
from services.database import Database
from services.errors import FileNotFound, Locked, TakenOver
from storage.keys import random_name

LEASE: Final = timedelta(seconds=4)
RENEW_EVERY: Final = 1.5
LOOK_EVERY: Final = 0.3
"""Seconds between two looks whether somebody else wants the upload."""

PATIENCE: Final = 5.0
"""Seconds that a request waits for the holder of an upload: longer than a lease."""

_RETRY_EVERY: Final = 0.05
_ASK_EVERY: Final = 1.0


class Hold:
    """A lease on one upload, and the right to change its row."""

    def __init__(self, database: Database, upload_id: str, holder: str) -> None:
        self._database = database
        self.upload_id = upload_id
        self.holder = holder
        self._looked = self._renewed = time.monotonic()

    def is_wanted(self) -> bool:
        """Say whether another request waits for this upload; call it often, it looks seldom.

        Raises TakenOver when the lease was lost.
        """
        moment = time.monotonic()
        if moment - self._looked < LOOK_EVERY:
            return False
        self._looked = moment
        if moment - self._renewed > RENEW_EVERY:
            self._renew()
        return self.check() is not None

    def check(self) -> datetime | None:
        """Return since when somebody waits, if so. Raises TakenOver when the lease was lost."""
        query = select(Upload.lock_wanted_at).where(
            Upload.id == self.upload_id, Upload.lock_holder == self.holder
        )
        with self._database.read() as session:
            row = session.execute(query).first()
        if row is None:
            raise TakenOver
        wanted_at: datetime | None = row[0]
        return wanted_at

    def change(self, session: Session, **values: object) -> None:
        """Change the row, if the lease still stands. Raises TakenOver when it was lost."""
        held = (Upload.id == self.upload_id, Upload.lock_holder == self.holder)
        changed = session.execute(
            update(Upload).where(*held).values(updated_at=now(), **values).returning(Upload.id)
        )
        if changed.first() is None:
            raise TakenOver

    def remove(self, session: Session) -> None:
        """Delete the row, if the lease still stands. Raises TakenOver when it was lost."""
        held = (Upload.id == self.upload_id, Upload.lock_holder == self.holder)
        removed = session.execute(delete(Upload).where(*held).returning(Upload.id))
        if removed.first() is None:
            raise TakenOver

    def _renew(self) -> None:
        with self._database.write() as session:
            self.change(session, lock_until=now() + LEASE)
        self._renewed = time.monotonic()


class Locks:
    """Leases on uploads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def hold(self, upload_id: str, *, patience: float = PATIENCE) -> Iterator[Hold]:
        """Hold an upload for the block, once whoever holds it has let go.

        Raises FileNotFound when there is none, and Locked when the holder does not let go within
        `patience` seconds.
        """
        holder = random_name()
        self._acquire(upload_id, holder, patience)
        try:
            yield Hold(self._database, upload_id, holder)
        finally:
            self._release(upload_id, holder)

    def _acquire(self, upload_id: str, holder: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        asked = 0.0
        while not self._take(upload_id, holder):
            moment = time.monotonic()
            if moment >= deadline:
                raise Locked("Another request is still at work on this upload")
            if moment - asked > _ASK_EVERY:
                self._ask(upload_id)
                asked = moment
            time.sleep(_RETRY_EVERY)

    def _take(self, upload_id: str, holder: str) -> bool:
        free = or_(Upload.lock_holder.is_(None), Upload.lock_until < now())
        query = select(Upload.lock_holder, Upload.lock_until).where(Upload.id == upload_id)
        with self._database.read() as session:
            row = session.execute(query).first()
        if row is None:
            raise FileNotFound
        if row.lock_holder is not None and row.lock_until > now():
            return False
        taken = (
            update(Upload)
            .where(Upload.id == upload_id, free)
            .values(lock_holder=holder, lock_until=now() + LEASE, lock_wanted_at=None)
            .returning(Upload.id)
        )
        with self._database.write() as session:
            return session.execute(taken).first() is not None

    def _ask(self, upload_id: str) -> None:
        wanted = update(Upload).where(Upload.id == upload_id).values(lock_wanted_at=now())
        with self._database.write() as session:
            session.execute(wanted)

    def _release(self, upload_id: str, holder: str) -> None:
        held = (Upload.id == upload_id, Upload.lock_holder == holder)
        free = update(Upload).where(*held).values(lock_holder=None, lock_until=None)
        with self._database.write() as session:
            session.execute(free)
