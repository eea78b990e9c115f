"""Objects of an S3 store that are written in several appends: the Resumable half of `storage.s3`.

All parts are of one size, fixed at the start. What is left at the end of an append and is shorter
than a part, the tail, is an object under a new name, which the next append reads back first; an
object that never fills a part is copied from its tail. A name of a tail begins with the key of the
object, so that `discard` finds those of appends that were killed too.

A store has no lock: of two appends at once, one may put a part that the other has put. An object is
made of the parts whose tags were kept and of no others, so a store that has replaced one of them
refuses: `finish` raises IntegrityError, and bytes of the two are never mixed.

Knows parts, objects and tokens, and not the SDK.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import BinaryIO, Final, Protocol

from storage.base import Body, ObjectInfo
from storage.capabilities import Appended, Part, State
from storage.counted import Counted
from storage.errors import IntegrityError, ObjectNotFound, StorageError
from storage.keys import new_key, random_name, validated
from storage.multipart import Means, PartStore, PartStream
from storage.s3_options import MAXIMUM_PART_SIZE, MINIMUM_PART_SIZE

_MIB: Final = 1024 * 1024
_MADE_NAME: Final = len(random_name())
_MADE_KEY: Final = len(new_key())
_TAIL_TYPE: Final = "application/octet-stream"


class ResumableStore(PartStore, Protocol):
    """What is needed of the store: parts, objects, and the token by which a write is known."""

    def begin(self, key: str, *, content_type: str = ..., token: str | None = None) -> str: ...

    def put(
        self, key: str, body: BinaryIO, *, content_type: str, token: str | None = None
    ) -> ObjectInfo: ...

    def copy_as(
        self,
        source: str,
        target: str,
        *,
        content_type: str | None = None,
        token: str | None = None,
        size: int | None = None,
    ) -> ObjectInfo: ...

    def written_as(self, key: str, token: str, size: int) -> ObjectInfo: ...

    def list_parts(self, key: str, upload_id: str, *, after: int = 0) -> list[Part]: ...

    def abort_all(self, key: str) -> None: ...

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Body: ...

    def delete(self, key: str) -> None: ...

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Counted):
    """A state, read. `parts` are entity tags and `tail` is a key.

    Every part has `part_size` bytes; of a complete object, the last part has what remains.
    """

    token: str
    content_type: str
    part_size: int
    upload_id: str | None = None
    parts: list[str] = field(default_factory=list)
    tail: str | None = None

    def tail_size(self) -> int:
        return self.size - len(self.parts) * self.part_size

    def all_parts(self) -> list[Part]:
        """Return the parts as the store gave them, the last one with its own size."""
        left = range(self.size, 0, -self.part_size)
        return [
            Part(number, etag, min(self.part_size, size))
            for number, (etag, size) in enumerate(zip(self.parts, left, strict=True), 1)
        ]


def fixed_part_size(configured: int, largest: int, maximum_parts: int) -> int:
    """Return the size of each part of an object of at most `largest` bytes.

    In whole MiB where it has to be more than `configured`; never more than a store takes.
    """
    enough = -(-largest // (maximum_parts * _MIB)) * _MIB
    return min(max(configured, MINIMUM_PART_SIZE, enough), MAXIMUM_PART_SIZE)


class S3Resumable:
    """The capability Resumable over a store of parts."""

    def __init__(
        self, store: ResumableStore, means: Callable[[], Means], configured_part_size: int
    ) -> None:
        self._store = store
        self._means = means
        self._configured = configured_part_size

    def start(self, key: str, *, content_type: str, largest: int) -> State:
        validated(key)
        part_size = fixed_part_size(self._configured, largest, self._store.maximum_parts)
        progress = Progress(token=random_name(), content_type=content_type, part_size=part_size)
        return progress.state()

    def append(self, key: str, state: State, offset: int) -> "PartAppender":
        progress = Progress.to_append(state, offset)
        if progress.upload_id is not None:
            self._require_last_part(key, progress.upload_id, progress.parts)
        appender = PartAppender(self._store, validated(key), self._means(), progress)
        try:
            appender.take_tail_back()
        except BaseException:
            appender.__exit__(None, None, None)
            raise
        return appender

    def finish(self, key: str, state: State, size: int) -> ObjectInfo:
        progress = Progress.to_finish(state, size)
        if progress.upload_id is not None:
            info = self._store.complete(key, progress.upload_id, progress.all_parts())
            with suppress(StorageError):
                self._sweep(key)
            return info
        if progress.tail is not None:
            return self._finish_tail(key, progress, progress.tail)
        nothing = io.BytesIO()
        kind, token = progress.content_type, progress.token
        return self._store.put(key, nothing, content_type=kind, token=token)

    def discard(self, key: str, state: State) -> None:
        progress = Progress.read(state)
        if progress.upload_id is not None:
            self._store.abort(key, progress.upload_id)
        if progress.tail is not None:
            self._store.delete(progress.tail)
        self._sweep(key)

    def _require_last_part(self, key: str, upload_id: str, parts: list[str]) -> None:
        """See that the upload and what was kept last are there, before bytes are taken.

        A store may list a part that was put again twice, once with each tag.
        """
        found = self._store.list_parts(key, upload_id, after=len(parts) - 1)
        if (len(parts), parts[-1]) not in {(part.number, part.etag) for part in found}:
            raise IntegrityError("a part of the unfinished object is missing or was overwritten")

    def _finish_tail(self, key: str, progress: Progress, tail: str) -> ObjectInfo:
        token, size = progress.token, progress.size
        try:
            info = self._store.copy_as(
                tail, key, content_type=progress.content_type, token=token, size=size
            )
        except ObjectNotFound:
            return self._store.written_as(key, token, size)
        with suppress(StorageError):
            self._store.delete(tail)
        return info

    def _sweep(self, key: str) -> None:
        """Remove what appends have left that never came to `keep`: uploads and tails."""
        self._store.abort_all(key)
        if len(key) == _MADE_KEY:
            for info in self._store.scan(key):
                if len(info.key) == _MADE_KEY + _MADE_NAME:
                    self._store.delete(info.key)


class PartAppender(PartStream):
    """An Appender whose bytes become parts, and a tail.

    It keeps no byte that the store has not acknowledged, and leaves the tail that it began with
    alone: the old state needs it until the new one is written down.
    """

    def __init__(self, store: ResumableStore, key: str, means: Means, progress: Progress) -> None:
        self._progress = progress
        self._objects = store
        sent = len(progress.parts)
        super().__init__(store, key, means, upload_id=progress.upload_id, sent=sent)

    def take_tail_back(self) -> None:
        """Begin the first part with the tail. Raises ObjectNotFound or IntegrityError."""
        if self._progress.tail is None:
            return
        with self._acting(), self._objects.open(self._progress.tail) as body:
            if body.size != self._progress.tail_size():
                raise IntegrityError("the tail of the unfinished object has another size")
            for piece in body:
                self._collect(memoryview(piece))

    def keep(self) -> Appended:
        with self._acting():
            if not self._part.room:
                self._send()
            return self._result(self._size(), complete=False)

    def complete(self) -> Appended:
        with self._acting():
            size = self._size()
            if self._upload_id is not None and self._part.size:
                self._send()
            return self._result(size, complete=True)

    def _size(self) -> int:
        return (self._number - 1) * self._progress.part_size + self._part.size

    def _result(self, size: int, *, complete: bool) -> Appended:
        """Wait for the parts and put the tail; only with its answer is anything kept."""
        before = self._progress
        sent = [part.etag for part in self._in_flight.settle()]
        tail = before.tail if size == before.size and not sent else self._put_tail()
        after = replace(
            before,
            size=size,
            upload_id=self._upload_id,
            parts=before.parts + sent,
            tail=tail,
            complete=complete,
        )
        self._end()
        superseded = () if before.tail in (None, tail) else (before.tail,)
        return Appended(after.state(), superseded)

    def _put_tail(self) -> str | None:
        if not self._part.size:
            return None
        key = _tail_key(self._key)
        put = partial(self._objects.put, key, self._part.reader(), content_type=_TAIL_TYPE)
        try:
            # In the threads that send parts, which are few: a hundred tails at once would each
            # be too slow for the store's patience.
            self._means.executor.submit(put).result()
        except BaseException as exc:
            self._failure = exc
            self._clean(lambda: self._delete(key))
            raise
        return key

    def _delete(self, key: str) -> None:
        with suppress(StorageError):
            self._objects.delete(key)

    def _capacity(self, number: int) -> int:
        return self._progress.part_size

    def _begin(self) -> str:
        kind, token = self._progress.content_type, self._progress.token
        return self._objects.begin(self._key, content_type=kind, token=token)

    def _leave(self) -> None:
        """Go back to the state at the beginning: an upload that it does not know is no use.

        Parts on their way are waited for whatever happened, lest one lands after the next append
        has put its own.
        """
        self._drop_parts()
        upload_id = self._upload_id
        if upload_id is not None and self._progress.upload_id is None:
            self._clean(lambda: self._abort(upload_id))


def _tail_key(key: str) -> str:
    """Return a new key, one that begins with `key` if `new_key` has made that."""
    return key + random_name() if len(key) == _MADE_KEY else new_key()
