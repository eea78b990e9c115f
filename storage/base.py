"""The contract that every backend keeps. A backend's module describes only where it differs.

What a backend may be able to do besides stands in `storage.capabilities`.
The contract is synchronous and small; `storage.aio` puts one asynchronous face on all backends.
It knows bytes and keys, and must not know HTTP, the database, or what the bytes mean.

What holds for every backend:

* Keys are those of `storage.keys`. Any other key raises InvalidKey before anything happens.
* Errors are those of `storage.errors`; an SDK's or the system's own never leave a backend.
* Every method may be called from any number of threads at once. A Writer or a Body belongs to one
  thread at a time.
* Memory is constant, whatever the size of the object.

There is no `exists()`: between its answer and the next call the answer can change. Open or stat
the object, and handle ObjectNotFound.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from typing_extensions import Buffer

CHUNK_SIZE = 256 * 1024
"""How many bytes a Body yields at a time, at the most, to whoever is not quick to ask for more."""

LARGEST_CHUNK = 1024 * 1024
"""The same for whoever is."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of one object.

    `size` is in bytes, `etag` the store's own opaque tag without quotes (it changes when the
    bytes do), `modified` an aware datetime in UTC.
    """

    key: str
    size: int
    etag: str
    modified: datetime


class Lent(Protocol):
    """What is used as a context manager, and lets go of what it holds at the end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class Writer(Lent, Protocol):
    """An object being written, used as a context manager.

    Nothing is visible at the key before `commit` returns. Leaving the context without a commit
    discards every byte, on the store too. Two writers of one key do not mix: the object is, at
    any time, what one of the commits wrote, whole.
    """

    def write(self, data: Buffer, /) -> None:
        """Append `data`; it is consumed before this returns and may be reused.

        Raises StorageFull or StorageUnavailable; the writer is then good only for leaving.
        """

    def commit(self) -> ObjectInfo:
        """Make the object visible, as durable as the backend promises, and describe it."""


class Body(Lent, Protocol):
    """The bytes of an object, or of a range of it: iterate it, then close it.

    It yields exactly `size` bytes in pieces of at most CHUNK_SIZE, of LARGEST_CHUNK while its
    reader is quick, or raises StorageUnavailable when the store breaks off; it never ends short in
    silence. An object that is deleted or replaced while its body is open is still read to the end
    as it was, or the body raises.
    """

    info: ObjectInfo
    size: int

    @property
    def file(self) -> BinaryIO | None:
        """The open, unbuffered file positioned at the first byte, where the bytes are a plain
        file that the kernel can send; None elsewhere. Closing the body closes it.
        """

    def __iter__(self) -> Iterator[bytes]: ...

    def close(self) -> None:
        """Release what the body holds. May be called more than once."""


class Storage(Protocol):
    """A place for objects. See the module's docstring for what holds throughout."""

    def create(self, key: str, *, content_type: str = "application/octet-stream") -> Writer:
        """Begin the object at `key`; an object already there stays until the commit replaces it.

        `content_type` is kept where the store has a place for it, and nothing depends on it.
        """

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Body:
        """Open bytes `start` (inclusive) to `stop` (exclusive; None is the end) of the object.

        Like a slice, a range is cut at the object's end, so it may be empty. The object is looked
        up now, not at the first read. Raises ObjectNotFound, StorageUnavailable, and ValueError
        for a negative start or a stop before it.
        """

    def stat(self, key: str) -> ObjectInfo:
        """Describe the object. Raises ObjectNotFound or StorageUnavailable."""

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield every object whose key begins with `prefix`, in ascending order of key.

        `prefix` is any leading part of a key. Objects that come or go meanwhile may or may not be
        seen; all others are, once. What is being written is never seen.
        """

    def delete(self, key: str) -> None:
        """Remove the object. That it is not there is no error."""

    def copy(self, source: str, target: str, *, etag: str | None = None) -> ObjectInfo:
        """Put the bytes of `source` at `target` too, inside the store where it can.

        As atomic as a commit. With `etag`, only the version that has it is copied: another one
        raises IntegrityError and leaves `target` as it was. Raises ObjectNotFound.
        """

    def check(self) -> None:
        """Prove that the store does what this contract says, on objects of its own that it
        removes again: put, a large put in parts, ranged get, compare, abandon, delete.

        Raises the StorageError whose message names what is wrong: unreachable, refused, no such
        bucket or folder, bytes that came back changed.
        """

    def close(self) -> None:
        """Let go of connections and open folders. The storage is not used afterwards."""
