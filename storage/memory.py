"""Objects in the memory of one process: for tests, and the smallest example of a backend.

It keeps whole objects in memory, so the contract's promise of constant memory is not kept here.
"""

import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from typing import BinaryIO, Self

from typing_extensions import Buffer

from storage.base import CHUNK_SIZE, Appended, ObjectInfo, State
from storage.counted import Counted
from storage.errors import IntegrityError, ObjectNotFound, StorageUnavailable
from storage.keys import validated
from storage.selftest import prove


class MemoryStorage:
    """A dictionary of objects behind a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[ObjectInfo, bytes]] = {}
        self._unfinished: dict[str, bytes] = {}
        self._appending: set[str] = set()

    def create(self, key: str, *, content_type: str = "application/octet-stream") -> "MemoryWriter":
        return MemoryWriter(self, validated(key))

    def open(self, key: str, start: int = 0, stop: int | None = None) -> "MemoryBody":
        if start < 0 or (stop is not None and stop < start):
            raise ValueError("a range begins at 0 or later and ends no earlier than it begins")
        info, content = self._find(key)
        return MemoryBody(info, memoryview(content)[start:stop])

    def stat(self, key: str) -> ObjectInfo:
        return self._find(key)[0]

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            found = [info for key, (info, _) in self._objects.items() if key.startswith(prefix)]
        yield from sorted(found, key=lambda info: info.key)

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(validated(key), None)

    def copy(self, source: str, target: str) -> ObjectInfo:
        validated(target)
        return self.put(target, self._find(source)[1])

    def check(self) -> None:
        prove(self, large=2 * CHUNK_SIZE + 1)

    def close(self) -> None:
        self._objects.clear()

    def start(self, key: str, *, content_type: str, largest: int) -> State:
        with self._lock:
            self._unfinished.setdefault(validated(key), b"")
        return Counted().state()

    def append(self, key: str, state: State, offset: int) -> "MemoryAppender":
        Counted.to_append(state, offset)
        with self._lock:
            if key not in self._unfinished:
                raise ObjectNotFound("no unfinished object is stored at this key")
            if key in self._appending:
                raise StorageUnavailable("something else is still appending to the object")
            self._appending.add(key)
            return MemoryAppender(self, key, self._unfinished[key][:offset])

    def finish(self, key: str, state: State, size: int) -> ObjectInfo:
        Counted.to_finish(state, size)
        with self._lock:
            content = self._unfinished.get(key)
        info = self.stat(key) if content is None else self.put(key, content)
        if info.size != size:
            raise IntegrityError(f"the object has {info.size} bytes, not {size}")
        with self._lock:
            self._unfinished.pop(key, None)
        return info

    def discard(self, key: str, state: State) -> None:
        with self._lock:
            self._unfinished.pop(key, None)

    def keep(self, key: str, content: bytes) -> None:
        """Make `content` what is there of an unfinished object."""
        with self._lock:
            if key not in self._unfinished:
                raise ObjectNotFound("the unfinished object was discarded meanwhile")
            self._unfinished[key] = content

    def leave(self, key: str) -> None:
        """Let the next one append."""
        with self._lock:
            self._appending.discard(key)

    def put(self, key: str, content: bytes) -> ObjectInfo:
        """Make `content` the object at `key`."""
        etag = hashlib.sha256(content).hexdigest()
        info = ObjectInfo(key, len(content), etag, datetime.now(UTC))
        with self._lock:
            self._objects[key] = (info, content)
        return info

    def _find(self, key: str) -> tuple[ObjectInfo, bytes]:
        validated(key)
        with self._lock:
            if key not in self._objects:
                raise ObjectNotFound("no object is stored at this key")
            return self._objects[key]


class MemoryWriter:
    """Bytes that a commit puts into the storage."""

    def __init__(self, storage: MemoryStorage, key: str) -> None:
        self._storage = storage
        self._key = key
        self._written = BytesIO()

    def write(self, data: Buffer, /) -> None:
        self._written.write(data)

    def commit(self) -> ObjectInfo:
        content = self._written.getvalue()
        self._written.close()
        return self._storage.put(self._key, content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._written.close()


class MemoryAppender:
    """Bytes that `keep` puts behind those that were there."""

    def __init__(self, storage: MemoryStorage, key: str, before: bytes) -> None:
        self._storage = storage
        self._key = key
        self._written = BytesIO()
        self._written.write(before)

    def write(self, data: Buffer, /) -> None:
        self._written.write(data)

    def keep(self) -> Appended:
        return self._keep(complete=False)

    def complete(self) -> Appended:
        return self._keep(complete=True)

    def _keep(self, *, complete: bool) -> Appended:
        content = self._written.getvalue()
        self._storage.keep(self._key, content)
        self._end()
        return Appended(Counted(size=len(content), complete=complete).state())

    def _end(self) -> None:
        if not self._written.closed:
            self._written.close()
            self._storage.leave(self._key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()


class MemoryBody:
    """A view of an object's bytes."""

    file: BinaryIO | None = None

    def __init__(self, info: ObjectInfo, view: memoryview) -> None:
        self.info = info
        self.size = len(view)
        self._view = view

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self.size, CHUNK_SIZE):
            yield bytes(self._view[start : start + CHUNK_SIZE])

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...
