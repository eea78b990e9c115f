"""Find what direct uploads left in the stores and no row knows of any more.

A crash between a store's answer and our record leaves an upload in parts, and a request that was
signed may still be used when its upload is forgotten. Both are looked for seldom, in one instance
at a time, and only what is older than STALE goes: a slow upload that is under way by another door
is also an upload in parts, and has no row.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from sqlalchemy import and_, select

from models import Upload, now
from services.database import Database
from services.direct_rows import STAGING
from services.leases import Leases
from services.upload_rows import EXPIRED
from storage.base import Multipart, Storage
from storage.errors import StorageError

STALE: Final = timedelta(days=7)
EVERY: Final = 3600.0
"""Seconds between two looks."""

_LEASE: Final = "direct-leftovers"

log = logging.getLogger("holdall.direct")


class Leftovers:
    """Look for them, and remove them."""

    def __init__(self, database: Database, storages: Mapping[str, Storage]) -> None:
        self._database = database
        self._storages = storages
        self._leases = Leases(database)
        self._next = 0.0

    def run_now_and_then(self) -> int:
        """Do what `run` does, when it is time and no other instance does."""
        if time.monotonic() < self._next or not self._leases.take(_LEASE, seconds=EVERY):
            return 0
        self._next = time.monotonic() + EVERY
        return self.run()

    def run(self, older_than: timedelta = STALE) -> int:
        """Remove what is older, in every storage that answers, and return how much it was."""
        removed = 0
        for name, storage in self._storages.items():
            try:
                removed += self._abort_stale(name, storage, older_than)
                removed += self._empty_staging(name, storage, older_than)
            except StorageError as error:
                log.warning("not looked through", extra={"backend": name, "reason": str(error)})
        return removed

    def _abort_stale(self, name: str, storage: Storage, older_than: timedelta) -> int:
        if not isinstance(storage, Multipart):
            return 0
        stale = [(key, upload) for key, upload, _ in storage.stale_multiparts(now() - older_than)]
        known = self._known(name, (key for key, _ in stale))
        unknown = [(key, upload) for key, upload in stale if key not in known]
        for key, upload in unknown:
            storage.abort(key, upload)
            log.warning("an upload without a row was aborted", extra={"key": key, "backend": name})
        return len(unknown)

    def _empty_staging(self, name: str, storage: Storage, older_than: timedelta) -> int:
        oldest = now() - older_than
        old = [info.key for info in storage.scan(STAGING) if info.modified < oldest]
        known = self._known(name, old)
        unknown = [key for key in old if key not in known]
        for key in unknown:
            storage.delete(key)
            log.warning("bytes without a row were deleted", extra={"key": key, "backend": name})
        return len(unknown)

    def _known(self, backend: str, keys: Iterable[str]) -> set[str]:
        """Return those of `keys` that an upload's row names; the sweep of rows sees to these."""
        if not (asked := list(keys)):
            return set()
        live = and_(Upload.backend == backend, Upload.key != "", Upload.state != EXPIRED)
        with self._database.read() as session:
            return set(asked) & set(session.scalars(select(Upload.key).where(live)))
