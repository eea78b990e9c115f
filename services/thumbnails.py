"""Thumbnails: small pictures of files, made when they are first asked for and kept beside them.

    kept ──▸ open it
    none ──▸ who asks first has it made, all others wait for that ──▸ keep it

A thumbnail is an object that no row names; its key begins with its file's (`thumbnails_wanted`).
It is a copy that can be made again: one that cannot be kept is sent all the same. Who may have it
is not asked here, and no pixel is touched (`services.imaging`).
"""

import logging
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from services.errors import ImageRefused, ThumbnailsBusy
from services.stored import StoredFile
from services.thumbnails_pool import Pool
from services.thumbnails_wanted import Variant, prefix_of
from storage.base import CHUNK_SIZE, Body, ObjectInfo, Storage
from storage.errors import IntegrityError, ObjectNotFound, StorageError, StorageFull

LARGEST_SOURCE: Final = 256 * 1024 * 1024
"""Bytes of a file that a thumbnail is made of at the most."""
_REMEMBERED: Final = 1024
_REFUSED_FOR: Final = 300.0
"""Seconds for which an image that was refused is not tried again, whatever size is asked for."""
_MOST_FOLLOWERS: Final = 256
"""Threads that may wait for thumbnails that others are having made."""

log = logging.getLogger("holdall.thumbnails")


class Source(Protocol):
    """What a thumbnail's bytes are opened from."""

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Body: ...


@dataclass(frozen=True, slots=True)
class Ready:
    """A thumbnail that is there: its size in bytes, and where its bytes come from.

    `is_kept` says that they are in the file's own storage.
    """

    size: int
    source: Source
    is_kept: bool

    def close(self) -> None:
        """Let go of what was opened and is not read."""
        if isinstance(self.source, Opened):
            self.source.close()


class Opened:
    """An object that is open from its first byte to its last, and can be opened once so."""

    def __init__(self, body: Body, storage: Storage) -> None:
        self._body: Body | None = body
        self._storage = storage

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Body:
        """Return what is open, or open another range."""
        body, self._body = self._body, None
        if body is not None and start == 0 and stop == body.size:
            return body
        if body is not None:
            body.close()
        return self._storage.open(key, start, stop)

    def close(self) -> None:
        """Close what was not handed out."""
        if self._body is not None:
            self._body.close()
            self._body = None


@dataclass(slots=True)
class _Flight:
    """A thumbnail being made, and what came of it."""

    done: threading.Event = field(default_factory=threading.Event)
    ready: Ready | None = None
    error: Exception | None = None


class Thumbnails:
    """Find thumbnails, and have those made that are not there.

    `find` returns a file as it is now, by its id, None for one that is gone. `note` is told what an
    image measures. `patience` is how many seconds making one may take.
    """

    def __init__(
        self,
        storages: Mapping[str, Storage],
        pool: Pool,
        *,
        scratch: Path,
        max_pixels: int,
        patience: float,
        find: Callable[[str], StoredFile | None],
        note: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._storages = storages
        self._pool = pool
        self._scratch = scratch
        self._max_pixels = max_pixels
        self._patience = patience
        self._find = find
        self._note = note
        self._lock = threading.Lock()
        self._flights: dict[tuple[str, str], _Flight] = {}
        self._followers = 0
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def ready(self, file: StoredFile, variant: Variant, *, opens: bool = False) -> Ready:
        """Return the thumbnail, made if it was not there.

        With `opens` one that is kept is opened in place of being looked up: close what is returned,
        or read it. Raises ObjectNotFound when the file's bytes are not there, ImageRefused,
        ThumbnailsBusy and StorageUnavailable.
        """
        try:
            return self.kept(file, variant, opens=opens)
        except ObjectNotFound:
            return self._made_once(file, variant)

    def kept(self, file: StoredFile, variant: Variant, *, opens: bool = False) -> Ready:
        """Return the thumbnail as `ready` does, but make none. Raises ObjectNotFound."""
        storage = self._storages[file.backend]
        if not opens:
            return Ready(storage.stat(variant.key).size, storage, is_kept=True)
        body = storage.open(variant.key)
        return Ready(body.size, Opened(body, storage), is_kept=True)

    def close(self) -> None:
        """End the processes."""
        self._pool.close()

    def _made_once(self, file: StoredFile, variant: Variant) -> Ready:
        """Have one of all that ask for a thumbnail make it, and the others wait."""
        name = (file.backend, variant.key)
        with self._lock:
            flight = self._flights.get(name)
            leads = flight is None
            if flight is None:
                flight = self._flights[name] = _Flight()
            elif self._followers >= _MOST_FOLLOWERS:
                raise ThumbnailsBusy
            else:
                self._followers += 1
        return self._lead(name, flight, file, variant) if leads else self._follow(flight)

    def _lead(
        self, name: tuple[str, str], flight: _Flight, file: StoredFile, variant: Variant
    ) -> Ready:
        try:
            flight.ready = self._made(file, variant)
            return flight.ready
        except Exception as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                del self._flights[name]
            flight.done.set()

    def _follow(self, flight: _Flight) -> Ready:
        try:
            flight.done.wait(2 * self._patience)
        finally:
            with self._lock:
                self._followers -= 1
        if flight.ready is not None:
            return flight.ready
        raise flight.error or ThumbnailsBusy()

    def _made(self, file: StoredFile, variant: Variant) -> Ready:
        self._require_promising(file)
        box = {
            "width": variant.width,
            "height": variant.height,
            "fit": variant.fit,
            "format": variant.format,
        }
        job = {"content_type": file.content_type, "max_pixels": self._max_pixels, "box": box}
        try:
            with whole(self._storages[file.backend], file, self._scratch) as source:
                said, data = self._pool.do(job, source)
        except ImageRefused as error:
            self._remember(file.key, str(error))
            raise
        self._note(file.id, said["media"])
        return self._kept(file, variant, data)

    def _kept(self, file: StoredFile, variant: Variant, data: bytes) -> Ready:
        """Keep a thumbnail, unless its file has gone meanwhile or the store does not take it."""
        storage = self._storages[file.backend]
        held = Ready(len(data), Held(data), is_kept=False)
        try:
            with storage.create(variant.key, content_type=variant.content_type) as writer:
                writer.write(data)
                writer.commit()
            now = self._find(file.id)
            if now is not None and now.backend == file.backend:
                return Ready(len(data), Held(data), is_kept=True)
            # It was deleted or moved, and its thumbnails deleted, before this one was there.
            storage.delete(variant.key)
        except StorageError as error:
            log.warning("a thumbnail was not kept", extra={"reason": str(error)})
        except SQLAlchemyError as error:
            # If the file is gone, gc finds it.
            log.warning("the database does not answer", extra={"reason": type(error).__name__})
        return held

    def _require_promising(self, file: StoredFile) -> None:
        """Raise ImageRefused for what was refused a moment ago, or would be."""
        if file.size > LARGEST_SOURCE:
            most = LARGEST_SOURCE // 1024**2
            raise ImageRefused(f"The file is larger than the {most} MiB that are read")
        with self._lock:
            until, reason = self._refused.get(file.key, (0.0, ""))
        if time.monotonic() < until:
            raise ImageRefused(reason)

    def _remember(self, key: str, reason: str) -> None:
        with self._lock:
            self._refused[key] = (time.monotonic() + _REFUSED_FOR, reason)
            self._refused.move_to_end(key)
            while len(self._refused) > _REMEMBERED:
                self._refused.popitem(last=False)


class Held:
    """Bytes in memory that are opened as an object is."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, key: str, start: int = 0, stop: int | None = None) -> "HeldBody":
        """Open a range, whatever the key."""
        info = ObjectInfo(key, len(self._data), "", datetime.now(UTC))
        return HeldBody(info, self._data[start:stop])


class HeldBody:
    """A range of bytes in memory, as a `Body`."""

    def __init__(self, info: ObjectInfo, data: bytes) -> None:
        self.info = info
        self.size = len(data)
        self._data = data

    @property
    def file(self) -> None:
        """None: there is no plain file."""
        return None

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self.size, CHUNK_SIZE):
            yield self._data[start : start + CHUNK_SIZE]

    def close(self) -> None:
        """Nothing is held but memory."""

    def __enter__(self) -> "HeldBody":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def whole(
    storage: Storage, file: StoredFile, scratch: Path, *, most: int | None = None
) -> Iterator[BinaryIO]:
    """Open a file's bytes as a plain file that another process can be given.

    A local one is that already; of another the bytes, or the first `most`, are copied to one in
    `scratch` that has no name. Raises ObjectNotFound, StorageUnavailable, StorageFull, and
    IntegrityError where object and row disagree.
    """
    with storage.open(file.key, 0, most) as body:
        if body.info.size != file.size:
            raise IntegrityError(f"The object has {body.info.size} bytes, its row says {file.size}")
        if body.file is not None:
            yield body.file
            return
        with _unnamed(scratch) as copy:
            try:
                for piece in body:
                    copy.write(piece)
                copy.flush()
            except OSError as error:
                raise StorageFull("There is no room for bytes on their way") from error
            yield copy


@contextmanager
def _unnamed(scratch: Path) -> Iterator[BinaryIO]:
    try:
        copy: Any = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise StorageFull("There is no room for bytes on their way") from error
    try:
        yield copy
    finally:
        # What is still to be written may find no room, and nobody waits for it.
        with suppress(OSError):
            copy.close()


def delete_thumbnails(storage: Storage, key: str) -> None:
    """Delete all thumbnails of the file whose object is or was at `key`. Raises StorageError."""
    for info in list(storage.scan(prefix_of(key))):
        storage.delete(info.key)
