"""When keys were last used, written down a minute apart and beside the requests.

No request waits for it, and none fails by it: what cannot be written now is left out. It knows
ids of keys and no secrets.
"""

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from threading import Lock
from typing import Final

from sqlalchemy import or_, update
from sqlalchemy.exc import SQLAlchemyError

from models import ApiKey, now
from services.database import Database

APART: Final = timedelta(minutes=1)

log = logging.getLogger("holdall.keys")


class LastUse:
    """Note uses of keys; one thread, begun at the first, writes all that came in the meantime."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._lock = Lock()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="last-use")

    def note(self, key_id: str) -> None:
        """Have it written that the key is used now, unless that was done within a minute."""
        moment = time.monotonic()
        if moment < self._noted.get(key_id, 0.0):
            return
        with self._lock:
            self._noted[key_id] = moment + APART.total_seconds()
            first = not self._waiting
            self._waiting.add(key_id)
        if first:
            # Which an ending process takes no more.
            with suppress(RuntimeError):
                self._writer.submit(self._write)

    def close(self) -> None:
        """Write what waits, and end."""
        self._writer.shutdown()

    def _write(self) -> None:
        with self._lock:
            keys, self._waiting = self._waiting, set()
        moment = now()
        old = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= moment - APART)
        used = update(ApiKey).where(ApiKey.id.in_(keys), old).values(last_used_at=moment)
        try:
            with self._database.write() as session:
                session.execute(used)
        except SQLAlchemyError as error:
            log.warning("last use of keys not written", extra={"reason": str(error)})
