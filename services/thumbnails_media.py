"""What images measure: fills in `media` of their rows, `{"width", "height", "orientation"}`.

Uploads do not wait for it. A process measures what it has published itself a moment later; one
instance at a time looks for images that were left, by a crash or a queue that was full. What
cannot be measured gets `{}`, and is not tried again.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from time import monotonic
from typing import Any, Final

from sqlalchemy import String, cast, func, literal_column, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from models import UNMEASURED, File
from services.database import Database
from services.errors import ImageRefused, ThumbnailsBusy
from services.files import READY
from services.leases import Leases
from services.stored import StoredFile
from services.thumbnails import LARGEST_SOURCE, whole
from services.thumbnails_pool import Pool
from services.thumbnails_wanted import TYPES
from storage.base import Storage
from storage.errors import StorageError

_HEAD: Final = 1024 * 1024
_AT_THE_HEAD: Final = frozenset({"image/gif", "image/jpeg", "image/png"})
"""Types whose measures stand at the beginning; readers of the others want the file whole."""
_LEASE: Final = "measure-images"
_BATCH: Final = 100
_MOST_WAITING: Final = 1000
_IS_MISSING: Final = func.coalesce(cast(File.media, String), "null") == "null"
"""A column of JSON has two ways to hold nothing."""
_HAS_TYPE: Final = func.coalesce(File.content_type, "").in_(TYPES)
"""Put such that no index of types is followed, which the most of them have been measured in."""
_UNMEASURED: Final[dict[str, ColumnElement[bool]]] = {
    name: literal_column(f"({rows})") for name, rows in UNMEASURED.items()
}
"""The same of images, as the index of those says it, so that it is found."""

log = logging.getLogger("holdall.media")


class Media:
    """Measure images, when asked, when told of them, or every `interval` seconds."""

    def __init__(
        self,
        database: Database,
        storages: Mapping[str, Storage],
        pool: Pool,
        *,
        scratch: Path,
        max_pixels: int,
        interval: float,
    ) -> None:
        self._database = database
        self._storages = storages
        self._pool = pool
        self._scratch = scratch
        self._max_pixels = max_pixels
        self._interval = interval
        self._leases = Leases(database)
        self._published: Queue[str] = Queue(_MOST_WAITING)
        self._after = 0
        self._stopped = Event()

    def published(self, files: Iterable[tuple[str, str]]) -> None:
        """Note new files, each by its id and type, to be measured in a moment."""
        for file_id, content_type in files:
            if content_type in TYPES:
                try:
                    self._published.put_nowait(file_id)
                except Full:
                    # The next look at the table finds it.
                    self._after = 0
                    return

    def note(self, file_id: str, media: Mapping[str, Any]) -> None:
        """Write down what an image measures, unless that is known; a failure is only logged."""
        known = select(File.id).where(File.id == file_id, ~_IS_MISSING)
        fill = update(File).where(File.id == file_id, _IS_MISSING).values(media=dict(media))
        try:
            with self._database.read() as session:
                if session.scalar(known) is not None:
                    return
            with self._database.write() as session:
                session.execute(fill)
        except SQLAlchemyError as error:
            log.warning("measures were not noted", extra={"reason": type(error).__name__})

    def run(self) -> int:
        """Measure every image that was not, from where the last run has ended; return how many."""
        measured, failed = 0, 0
        while not self._stopped.is_set() and (batch := self._unmeasured()):
            for number, file in batch:
                done = self._measure(file)
                measured += done
                failed = failed or number * (not done)
                self._after = number
        if failed:
            self._after = failed - 1
        return measured

    def start(self) -> None:
        """Go on measuring in a thread, as long as the process lives."""
        Thread(target=self._run_often, name="media", daemon=True).start()

    def stop(self) -> None:
        """End the thread at its next look."""
        self._stopped.set()

    def _run_often(self) -> None:
        looked = monotonic()
        while not self._stopped.is_set():
            try:
                self._take_one()
                if monotonic() - looked >= self._interval:
                    looked = monotonic()
                    if self._leases.take(_LEASE, seconds=2 * self._interval + 60):
                        self.run()
            except Exception:
                # A database that is down now may be up at the next turn.
                log.exception("measuring images failed")
                self._stopped.wait(1.0)

    def _take_one(self) -> None:
        try:
            file_id = self._published.get(timeout=min(self._interval, 1.0))
        except Empty:
            return
        for _, file in self._found(File.id == file_id):
            self._measure(file)

    def _unmeasured(self) -> list[tuple[int, StoredFile]]:
        return self._found(_UNMEASURED[self._database.dialect], File.number > self._after)

    def _found(self, *conditions: Any) -> list[tuple[int, StoredFile]]:
        columns = (File.number, File.id, File.content_type, File.size, File.backend, File.key)
        wanted = (File.state == READY, _HAS_TYPE, _IS_MISSING, *conditions)
        query = select(*columns).where(*wanted).order_by(File.number).limit(_BATCH)
        with self._database.read() as session:
            rows = session.execute(query).all()
        bare = StoredFile("", "", "", 0, "", None, None, "", "", "", "", _NEVER, 0, "")
        return [
            (n, replace(bare, id=i, content_type=t, size=s, backend=b, key=k))
            for n, i, t, s, b, k in rows
        ]

    def _measure(self, file: StoredFile) -> bool:
        """Measure one, and say whether; what fails for a reason that may pass is left for later."""
        try:
            self.note(file.id, self._measured(file))
        except ImageRefused:
            self.note(file.id, {})
        except (StorageError, ThumbnailsBusy, KeyError) as error:
            log.warning("not measured", extra={"file": file.id, "reason": str(error)})
            return False
        return True

    def _measured(self, file: StoredFile) -> dict[str, Any]:
        if file.size > LARGEST_SOURCE:
            raise ImageRefused("too large")
        most = _HEAD if file.content_type in _AT_THE_HEAD else None
        job = {"content_type": file.content_type, "max_pixels": self._max_pixels, "box": None}
        with whole(self._storages[file.backend], file, self._scratch, most=most) as source:
            said, _ = self._pool.do(job, source)
        media: dict[str, Any] = said["media"]
        return media


_NEVER: Final = datetime.fromtimestamp(0, UTC)
