"""Objects in the memory of one process: for tests, and the smallest example of a backend.

It keeps whole objects in memory, so the contract's promise of constant memory is not kept here.
"""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import BinaryIO, Self

from typing_extensions import Buffer

from storage.base import CHUNK_SIZE, ObjectInfo
from storage.capabilities import Appended, Part, State
from storage.counted import Counted
from storage.errors import IntegrityError, ObjectNotFound, StorageUnavailable
from storage.keys import random_name, validated
from storage.numbered import MAXIMUM_PARTS, pieces_of, require_number, require_order
from storage.selftest import prove


@dataclass(slots=True)
class MemoryUpload:
    """The parts of one upload by number, and when it began."""

    begun: datetime
    parts: dict[int, tuple[Part, bytes]] = field(default_factory=dict)


class MemoryStorage:
    """A dictionary of objects behind a lock."""

    minimum_part_size = 1
    maximum_parts = MAXIMUM_PARTS

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[ObjectInfo, bytes]] = {}
        self._unfinished: dict[str, bytes] = {}
        self._appending: set[str] = set()
        self._uploads: dict[tuple[str, str], MemoryUpload] = {}
        self._made: dict[tuple[str, str], ObjectInfo] = {}

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

    def copy(self, source: str, target: str, *, etag: str | None = None) -> ObjectInfo:
        validated(target)
        info, content = self._find(source)
        if etag not in (None, info.etag):
            raise IntegrityError("another object is stored there than the one to be copied")
        return self.put(target, content)

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

    def begin(self, key: str, *, content_type: str = "application/octet-stream") -> str:
        upload_id = random_name()
        with self._lock:
            self._uploads[validated(key), upload_id] = MemoryUpload(datetime.now(UTC))
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | BinaryIO) -> Part:
        require_number(number)
        content = b"".join(pieces_of(data))
        part = Part(number, hashlib.md5(content, usedforsecurity=False).hexdigest(), len(content))
        with self._lock:
            self._upload(key, upload_id).parts[number] = (part, content)
        return part

    def copy_part(
        self, key: str, upload_id: str, number: int, source: str, start: int, stop: int
    ) -> Part:
        if not 0 <= start < stop:
            raise ValueError("a copied part has at least one byte")
        content = self._find(source)[1][start:stop]
        if len(content) != stop - start:
            raise IntegrityError("the object to copy from has no bytes in that range")
        return self.put_part(key, upload_id, number, content)

    def list_parts(self, key: str, upload_id: str) -> list[Part]:
        with self._lock:
            stored = self._upload(key, upload_id).parts
            return [stored[number][0] for number in sorted(stored)]

    def complete(self, key: str, upload_id: str, parts: list[Part]) -> ObjectInfo:
        require_order(parts)
        with self._lock:
            made = self._made.get((key, upload_id))
            stored = {} if made else self._upload(key, upload_id).parts
        if made:
            if self.stat(key) != made:
                raise ObjectNotFound("there is no such upload")
            return made
        if any(part != stored.get(part.number, (None,))[0] for part in parts):
            raise IntegrityError("a part of the upload is missing, or another one by now")
        info = self.put(key, b"".join(stored[part.number][1] for part in parts))
        with self._lock:
            self._made[key, upload_id] = info
            self._uploads.pop((key, upload_id), None)
        return info

    def abort(self, key: str, upload_id: str) -> None:
        with self._lock:
            self._uploads.pop((validated(key), upload_id), None)

    def stale_multiparts(self, older_than: datetime) -> Iterator[tuple[str, str, datetime]]:
        with self._lock:
            uploads = sorted(self._uploads.items(), key=lambda item: item[0])
        for (key, upload_id), upload in uploads:
            if upload.begun < older_than:
                yield key, upload_id, upload.begun

    def _upload(self, key: str, upload_id: str) -> MemoryUpload:
        if (validated(key), upload_id) not in self._uploads:
            raise ObjectNotFound("there is no such upload")
        return self._uploads[key, upload_id]

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
