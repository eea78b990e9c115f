"""What some backends can do besides the contract of `storage.base`, a Protocol for each.

Code that needs one asks once whether the storage is one; what holds for every backend holds here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Protocol, runtime_checkable

from typing_extensions import Buffer

from storage.base import Lent, ObjectInfo, Storage


@dataclass(frozen=True, slots=True)
class Part:
    """One stored part of a multipart upload. `number` counts from 1; `etag` has no quotes."""

    number: int
    etag: str
    size: int


@runtime_checkable
class Multipart(Protocol):
    """The capability of putting one object together from numbered parts that outlive a process.

    Numbers go from 1 to `maximum_parts`; any other raises ValueError. Every part but the last has
    at least `minimum_part_size` bytes. What belongs to no upload raises ObjectNotFound.
    """

    minimum_part_size: int
    maximum_parts: int

    def begin(self, key: str, *, content_type: str = "application/octet-stream") -> str:
        """Begin an upload to `key` and return its id."""

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | BinaryIO) -> Part:
        """Store part `number`, replacing an earlier one of that number. A file is read from its
        current position to its end; one that raises leaves an earlier part as it was.
        """

    def copy_part(
        self, key: str, upload_id: str, number: int, source: str, start: int, stop: int
    ) -> Part:
        """Store bytes `start` to `stop` (exclusive) of the object `source` as part `number`."""

    def list_parts(self, key: str, upload_id: str) -> list[Part]:
        """Return the stored parts in order of number.

        A store may show a part that was put again once with each tag, and take any one of them.
        """

    def complete(self, key: str, upload_id: str, parts: list[Part]) -> ObjectInfo:
        """Make the object out of `parts`, in ascending order of number; others are dropped.

        Succeeds only when the object is there and has their summed size: a store's answer can be
        lost after the act, or be an error in the body of a 200. So it may be called again. Raises
        IntegrityError when a part is missing, is another one by now, or is out of order (the
        upload stays), and ValueError when there are none.
        """

    def abort(self, key: str, upload_id: str) -> None:
        """Discard the upload and its parts. That it is gone already is no error."""

    def stale_multiparts(self, older_than: datetime) -> Iterator[tuple[str, str, datetime]]:
        """Yield key, upload id and begin (UTC) of every upload that was begun before `older_than`
        and was given no part since.

        Also those of writers and appenders that are at work. The id is good for `abort`, and may
        be spelled otherwise than the one that `begin` returned: know an upload by its key.
        """


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One request that its holder may make until `expires_at` (UTC), with these very `headers`.

    Content-Length is among them where it counts; browsers and most clients set it by themselves.
    """

    method: str
    url: str
    headers: dict[str, str]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SignedForm:
    """A form to POST as multipart/form-data until `expires_at`: `fields`, and `file` after them."""

    url: str
    fields: dict[str, str]
    expires_at: datetime


@runtime_checkable
class Presigner(Protocol):
    """The capability of signing requests that a client sends to the store itself.

    Signing contacts nothing, and equal arguments give equal bytes in every process. A signature
    holds for `expires_in` seconds, 1 to 604,800, from `signed_at`, which is aware and counts in
    whole seconds; it ends earlier with temporary credentials that end earlier. It does not use
    itself up: until then the same request may be made again. ValueError for what no header holds.
    """

    def presign_get(
        self,
        key: str,
        *,
        signed_at: datetime,
        expires_in: int,
        content_type: str,
        disposition: str,
        cache_control: str = "",
        internal: bool = False,
    ) -> str:
        """Return a URL that answers with these headers; `internal` is for a proxy beside us."""

    def presign_put(
        self, key: str, *, size: int, content_type: str, signed_at: datetime, expires_in: int
    ) -> SignedRequest:
        """Sign a PUT of exactly `size` bytes of that type."""

    def presign_post(
        self,
        key: str,
        *,
        largest: int,
        content_type: str | None,
        signed_at: datetime,
        expires_in: int,
    ) -> SignedForm:
        """Sign a form for at most `largest` bytes, of that type or (None) of any."""

    def presign_part(
        self, key: str, upload_id: str, number: int, *, signed_at: datetime, expires_in: int
    ) -> SignedRequest:
        """Sign a PUT of part `number` of a Multipart upload, whose size nothing limits."""


@runtime_checkable
class Filed(Protocol):
    """The capability of naming the plain file that an object is, for a server that sends files."""

    def filed_at(self, key: str) -> str:
        """Return where the object's file lies in the storage's folder; nothing is looked up."""


@runtime_checkable
class Mirrored(Protocol):
    """The capability of having objects on several storages: `primary` first, then its mirrors.

    Whoever has queued that an object is copied or deleted works on the members themselves.
    """

    primary: str
    members: dict[str, Storage]


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file beside the objects. `size` is in bytes, `modified` when it was last written (UTC)."""

    name: str
    size: int
    modified: datetime


@runtime_checkable
class Sweepable(Protocol):
    """The capability of finding what processes that were killed have left beside the objects."""

    def sweep(self, older_than: datetime, *, remove: bool) -> Iterator[Leftover]:
        """Yield what writers left that was last written before `older_than`, removed if asked.

        What a living process still writes is left alone, however old it is.
        """

    def stale_unfinished(self, older_than: datetime) -> Iterator[Leftover]:
        """Yield the unfinished objects of Resumable last written before `older_than`, by key.

        Also those that will be gone on with.
        """


State = dict[str, Any]
"""What a backend needs to go on with an object elsewhere: JSON, opaque to everyone else."""


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append left behind: the new state, and keys of objects that it no longer needs.

    Write down the state, durably, and only then delete the superseded objects: until then the
    old state is the one that counts, and it needs them.
    """

    state: State
    superseded: tuple[str, ...] = ()


class Appender(Lent, Protocol):
    """Bytes being added at the end of an unfinished object, used as a context manager.

    Leaving without `keep` or `complete` goes back to the state it began with: what was written is
    dropped, or overwritten by the next append. After a method has raised, it is good only for
    leaving.
    """

    def write(self, data: Buffer, /) -> None:
        """Append `data`; it is consumed before this returns and may be reused.

        Raises StorageFull, StorageUnavailable, or ObjectNotFound when the unfinished object was
        discarded meanwhile; so do `keep` and `complete`.
        """

    def keep(self) -> Appended:
        """Make all that was written durable, and end this append; more will come."""

    def complete(self) -> Appended:
        """As `keep`, but nothing more will come: the state is then one to `finish`."""


@runtime_checkable
class Resumable(Protocol):
    """The capability of writing one object in several appends, by several processes in turn.

    The caller sees to it that one append runs at a time, counts the bytes, and keeps the state in
    a place that survives; a state that was superseded by a later one is never used again. The
    object is visible at its key after `finish`, and not before.
    """

    def start(self, key: str, *, content_type: str, largest: int) -> State:
        """Begin an object of at most `largest` bytes, and return its first state (offset 0)."""

    def append(self, key: str, state: State, offset: int) -> Appender:
        """Go on at `offset`, the count of bytes that `state` stands for.

        Bytes beyond it, left by an append that was never kept, are dropped. Raises
        ObjectNotFound when the unfinished object is gone, IntegrityError when it holds less than
        `offset` bytes or the state stands for another count, and ValueError for a state that is
        complete. Raises StorageUnavailable, also while something else is still appending, where
        the backend can tell; where it cannot, `finish` raises rather than mix the bytes of two.
        """

    def finish(self, key: str, state: State, size: int) -> ObjectInfo:
        """Make the object of `size` bytes visible, and describe it. `state` is from `complete`.

        May be called again when it is not known whether an earlier call took effect: it looks
        whether the object that this very upload made is there. Raises ObjectNotFound when neither
        the object nor its unfinished bytes are there, IntegrityError when the bytes are not the
        `size` ones that were kept, and ValueError for a state that is not complete.
        """

    def discard(self, key: str, state: State) -> None:
        """Remove what is stored of an unfinished object, also by appends that never came to
        `keep`. That nothing is there is no error; a finished object stays.
        """
