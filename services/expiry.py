"""Drop resumable uploads that their clients have given up, in one instance at a time.

An upload that somebody works on is left alone, and one whose bytes are all there is finished and
not dropped. The row says `expired` before the bytes go, so that nobody goes on with half of them;
its key goes when they are gone, and until then each run tries again. The row stays for a while, to
answer that the upload is gone.
"""

import logging
from datetime import timedelta
from threading import Event, Thread
from typing import Final

from sqlalchemy import and_, delete, or_, select

from models import Upload, now
from services.database import Database
from services.errors import HoldallError
from services.leases import Leases
from services.resumable import EXPIRED, Uploads
from storage.errors import StorageError

REMEMBERED: Final = timedelta(days=7)
"""How long an expired upload is answered with 410 and not with 404."""

_BATCH: Final = 100
_LEASE: Final = "expire-uploads"

log = logging.getLogger("holdall.expiry")


class Expiry:
    """Drop what has expired, when asked or every `interval` seconds."""

    def __init__(self, database: Database, uploads: Uploads, *, interval: float) -> None:
        self._database = database
        self._uploads = uploads
        self._interval = interval
        self._leases = Leases(database)
        self._stopped = Event()

    def run(self) -> int:
        """Drop every upload that has expired, and return how many."""
        dropped, after = 0, ""
        while batch := self._expired(after):
            dropped += sum(self._drop(upload_id) for upload_id in batch)
            after = batch[-1]
        self._forget()
        return dropped

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
                    self.run()
            except Exception:
                # A database that is down now may be up at the next turn.
                log.exception("dropping expired uploads failed")

    def _expired(self, after: str) -> list[str]:
        holds_something = or_(Upload.state != EXPIRED, Upload.key != "")
        over = and_(Upload.expires_at <= now(), holds_something, Upload.id > after)
        query = select(Upload.id).where(over).order_by(Upload.id).limit(_BATCH)
        with self._database.read() as session:
            return list(session.scalars(query))

    def _drop(self, upload_id: str) -> bool:
        try:
            return self._uploads.expire(upload_id)
        except (HoldallError, StorageError) as error:
            log.warning("not dropped", extra={"upload": upload_id, "reason": str(error)})
            return False

    def _forget(self) -> None:
        empty = and_(Upload.state == EXPIRED, Upload.key == "")
        old = delete(Upload).where(empty, Upload.expires_at <= now() - REMEMBERED)
        with self._database.write() as session:
            session.execute(old)
