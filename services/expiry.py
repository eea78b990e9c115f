"""Drop what has come to its end, in one instance at a time: uploads that their clients have given
up, files that were to be kept for a while, and what was written down for a while.

An upload that somebody works on is left alone, and one whose bytes are all there is finished and
not dropped. The row says `expired` before the bytes go, so that nobody goes on with half of them;
its key goes when they are gone, and until then each run tries again. The row stays for a while, to
answer that the upload is gone.

A file is not served from the moment it expires or is put into the trash; here its row goes and then
its object, unless by then it may live longer, or has been restored.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any, Final

from sqlalchemy import Row, Select, and_, delete, literal, literal_column, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.elements import ColumnElement

from models import HELD, Failure, File, IdempotencyKey, Reservation, Upload, UsedLink, now
from services.database import Database
from services.direct import Direct
from services.errors import HoldallError
from services.files import COUNTED, READY, Files, Removed, count_removed
from services.leases import Leases
from services.mirroring import Mirrors
from services.resumable import Uploads
from services.upload_rows import DIRECT, EXPIRED
from services.used_links import REMEMBERED as LINKS_REMEMBERED
from storage.errors import StorageError

REMEMBERED: Final = timedelta(days=7)
"""How long an expired upload is answered with 410 and not with 404."""

Moment = InstrumentedAttribute[datetime | None]

_BATCH: Final = 100
_LEASE: Final = "expire-uploads"

log = logging.getLogger("holdall.expiry")


class Expiry:
    """Drop what has expired, when asked or every `interval` seconds."""

    def __init__(
        self,
        database: Database,
        uploads: Uploads,
        direct: Direct,
        files: Files,
        mirrors: Mirrors,
        *,
        trash_expires_in: timedelta,
        interval: float,
        on_dropped: Callable[[int, int, int], None] = lambda uploads, files, trash: None,
    ) -> None:
        """`on_dropped` is told of how many uploads, files and files of the trash, after each
        run of the thread.

        Files stay in the trash for `trash_expires_in`.
        """
        self._database = database
        self._uploads = uploads
        self._direct = direct
        self._files = files
        self._trash_expires_in = trash_expires_in
        self._mirrors = mirrors
        self._interval = interval
        self._on_dropped = on_dropped
        self._leases = Leases(database)
        self._stopped = Event()

    def run(self) -> int:
        """Drop every upload and every file that has expired, and return how many."""
        return sum(self._run())

    def due_uploads(self) -> Iterator[str]:
        """Yield the ids of uploads that have expired."""
        return (upload_id for upload_id, _ in self._all_expired())

    def due_files(self) -> Iterator[str]:
        """Yield the ids of files that have expired."""
        return self._due(_is_over(), File.expires_at)

    def due_trash(self) -> Iterator[str]:
        """Yield the ids of files that have been in the trash for long enough."""
        return self._due(self._is_rubbish(), File.deleted_at)

    def drop_uploads(self) -> Iterator[str]:
        """Drop uploads that have expired, and yield the ids of those that were."""
        for upload_id, protocol in self._all_expired():
            if self._drop(upload_id, protocol):
                yield upload_id

    def drop_files(self) -> Iterator[str]:
        """Drop files that have expired, and yield their ids."""
        return self._drop_files(_is_over())

    def drop_trash(self) -> Iterator[str]:
        """Drop files that have been in the trash for long enough, and yield their ids."""
        return self._drop_files(self._is_rubbish())

    def start(self) -> None:
        """Go on dropping in a thread, as long as the process lives."""
        Thread(target=self._run_often, name="expiry", daemon=True).start()

    def stop(self) -> None:
        """End the thread at its next look."""
        self._stopped.set()

    def _run_often(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                if self._leases.take(_LEASE, seconds=2 * self._interval):
                    self._on_dropped(*self._run())
            except Exception:
                # A database that is down now may be up at the next turn.
                log.exception("dropping what has expired failed")

    def _run(self) -> tuple[int, int, int]:
        uploads, files = sum(1 for _ in self.drop_uploads()), sum(1 for _ in self.drop_files())
        trash = sum(1 for _ in self.drop_trash())
        self.forget()
        return uploads, files, trash

    def _all_expired(self) -> Iterator[tuple[str, str]]:
        """Yield ids of uploads and their protocols, the first to expire first."""
        over = select(Upload.id, Upload.protocol, Upload.expires_at).where(
            literal_column(f"({HELD})"), Upload.expires_at <= now()
        )
        for row in self._in_batches(over, Upload.expires_at, Upload.id):
            yield row.id, row.protocol

    def _in_batches(
        self, over: Select[*tuple[Any, ...]], moment: Moment, name: InstrumentedAttribute[Any]
    ) -> Iterator[Row[*tuple[Any, ...]]]:
        """Yield rows in the order of the moment that they were to last until."""
        query = over.order_by(moment, name).limit(_BATCH)
        with self._database.read() as session:
            batch = session.execute(query).all()
        while batch:
            yield from batch
            last = tuple_(
                literal(batch[-1]._mapping[moment], moment.type), batch[-1]._mapping[name]
            )
            with self._database.read() as session:
                batch = session.execute(query.where(tuple_(moment, name) > last)).all()

    def _drop(self, upload_id: str, protocol: str) -> bool:
        try:
            if protocol == DIRECT:
                return self._direct.expire(upload_id)
            return self._uploads.expire(upload_id)
        except (HoldallError, StorageError, KeyError) as error:
            # KeyError: its backend is configured no more. Those behind it are dropped all the same.
            log.warning("not dropped", extra={"upload": upload_id, "reason": str(error)})
            return False

    def _due(self, due: ColumnElement[bool], moment: Moment) -> Iterator[str]:
        over = select(File.id, File.number, moment).where(due)
        return (row.id for row in self._in_batches(over, moment, File.number))

    def _drop_files(self, due: ColumnElement[bool]) -> Iterator[str]:
        """Drop files in batches. A store that fails keeps its others until the next run."""
        failed = set[str]()
        while ids := self._due_files(due, failed):
            removed = self._remove_rows(ids, due)
            failed |= self._files.remove_in_turn(removed)
            yield from (each.id for each in removed)

    def _due_files(self, due: ColumnElement[bool], failed: set[str]) -> list[str]:
        query = select(File.id).where(due, File.backend.not_in(failed))
        with self._database.read() as session:
            return list(session.scalars(query.limit(_BATCH)))

    def _remove_rows(self, ids: list[str], due: ColumnElement[bool]) -> list[Removed]:
        gone = delete(File).where(File.id.in_(ids), due).returning(*COUNTED)
        with self._database.write() as session:
            rows = session.execute(gone).all()
            count_removed(session, rows)
            self._mirrors.to_delete(session, ((row.backend, row.key) for row in rows))
        for row in rows:
            told = "file expired" if row.deleted_at is None else "file left the trash"
            log.info(told, extra={"file": row.id, "size": row.size})
        return [Removed(row.id, row.backend, row.key, row.content_type) for row in rows]

    def _is_rubbish(self) -> ColumnElement[bool]:
        before = now() - self._trash_expires_in
        lives = or_(File.expires_at.is_(None), File.expires_at > now())
        return and_(File.state == READY, File.deleted_at <= before, lives)

    def forget(self) -> None:
        """Delete rows that nobody asks for any more: what was remembered for a while."""
        empty = and_(Upload.state == EXPIRED, Upload.key == "")
        old = delete(Upload).where(empty, Upload.expires_at <= now() - REMEMBERED)
        used = delete(UsedLink).where(UsedLink.expires_at <= now() - LINKS_REMEMBERED)
        with self._database.write() as session:
            session.execute(old)
            session.execute(used)
            for ended in (Reservation.expires_at, IdempotencyKey.expires_at, Failure.until):
                session.execute(delete(ended.class_).where(ended <= now()))


def _is_over() -> ColumnElement[bool]:
    return and_(File.state == READY, File.expires_at <= now())
