"""Fill in the SHA-256 of files whose bytes never passed through this service.

One instance at a time reads them from their stores, in pieces, whenever there are some. The ETag
of a file stays what it was when it was published; its `sha256` and Repr-Digest appear.
"""

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Event, Thread
from typing import Final

from sqlalchemy import select, update

from models import File
from services.database import Database
from services.files import READY
from services.leases import Leases
from storage.base import Storage
from storage.errors import IntegrityError, StorageError

_LEASE: Final = "hash-files"
_LEASE_SECONDS: Final = 60.0
_RENEW_EVERY: Final = 15.0
_BATCH: Final = 100

log = logging.getLogger("holdall.hashing")


class LeaseLost(Exception):
    """Another instance goes on, or this one is to end."""


@dataclass(frozen=True, slots=True)
class Unhashed:
    """A file without a SHA-256. `size` is in bytes."""

    number: int
    backend: str
    key: str
    size: int


class Hashing:
    """Hash what has no hash, when asked or every `interval` seconds."""

    def __init__(
        self, database: Database, storages: Mapping[str, Storage], *, interval: float
    ) -> None:
        self._database = database
        self._storages = storages
        self._interval = interval
        self._leases = Leases(database)
        self._renewed = -_RENEW_EVERY
        self._stopped = Event()

    def run(self) -> int:
        """Hash every file that has no hash, and return how many were.

        A file whose object cannot be read is passed over until the next run. Ends early when
        another instance is at it.
        """
        hashed, after = 0, 0
        try:
            self._renew()
            while batch := self._unhashed(after):
                hashed += sum(self._hash(file) for file in batch)
                after = batch[-1].number
        except LeaseLost:
            log.debug("another instance hashes files")
        return hashed

    def start(self) -> None:
        """Go on hashing in a thread, as long as the process lives."""
        Thread(target=self._run_often, name="hashing", daemon=True).start()

    def stop(self) -> None:
        """End the thread at its next look."""
        self._stopped.set()

    def _run_often(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                if self._unhashed(0):
                    self.run()
            except Exception:
                # A database that is down now may be up at the next turn.
                log.exception("hashing files failed")

    def _unhashed(self, after: int) -> list[Unhashed]:
        """Return the next files without a hash, which have an index of their own."""
        query = (
            select(File.number, File.backend, File.key, File.size)
            .where(File.sha256.is_(None), File.state == READY, File.number > after)
            .order_by(File.number)
            .limit(_BATCH)
        )
        with self._database.read() as session:
            return [Unhashed(*row) for row in session.execute(query)]

    def _hash(self, file: Unhashed) -> bool:
        try:
            sha256 = self._read(file)
        except StorageError as error:
            log.warning("not hashed", extra={"key": file.key, "reason": str(error)})
            return False
        same = (File.number == file.number, File.backend == file.backend, File.key == file.key)
        filled = update(File).where(*same, File.sha256.is_(None))
        with self._database.write() as session:
            done = session.execute(filled.values(sha256=sha256).returning(File.number))
            return done.first() is not None

    def _read(self, file: Unhashed) -> str:
        digest = hashlib.sha256()
        with self._storages[file.backend].open(file.key) as body:
            if body.size != file.size:
                raise IntegrityError(f"the object has {body.size} bytes, not {file.size}")
            for piece in body:
                digest.update(piece)
                self._renew()
        return digest.hexdigest()

    def _renew(self) -> None:
        """Keep the lease. Raises LeaseLost."""
        if time.monotonic() - self._renewed < _RENEW_EVERY:
            return
        if self._stopped.is_set() or not self._leases.take(_LEASE, seconds=_LEASE_SECONDS):
            raise LeaseLost
        self._renewed = time.monotonic()
