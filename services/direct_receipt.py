"""Bytes of direct uploads that come to this service, for storages that take none themselves.

Who sends them has shown a signed request (`services.direct_urls`). They are limited before they
are read and counted as they come, and they wait where a store's own would: what they are is
looked at by `services.direct_confirm`, and nothing is served before.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO, Final, cast

from typing_extensions import Buffer

from models import Upload
from services.digests import ExpectedDigest, RunningDigests
from services.direct_rows import PARTS, WHOLE, Rows
from services.errors import (
    Conflict,
    FileNotFound,
    Gone,
    InvalidField,
    LengthRequired,
    NoFileProvided,
    QuotaExceeded,
    TooLarge,
)
from services.forms import LARGEST_FIELD, Event, Field, FileStart
from services.locks import Locks
from services.policy import Policy
from services.upload_rows import FINISHING, OPEN
from storage.base import CHUNK_SIZE, Storage
from storage.capabilities import Multipart, Presigner
from storage.errors import ObjectNotFound
from storage.keys import is_random_name

FILE_FIELD: Final = "file"


class Receipt:
    """Take in what signed requests send."""

    def __init__(self, rows: Rows, locks: Locks, storages: Mapping[str, Storage]) -> None:
        self._rows = rows
        self._locks = locks
        self._storages = storages

    def whole(
        self,
        upload_id: str,
        length: int | None,
        chunks: Iterable[Buffer],
        digests: tuple[ExpectedDigest, ...] = (),
    ) -> str:
        """Keep the body of one PUT, in place of an earlier one, and return its tag.

        Raises FileNotFound, Gone, Conflict, LengthRequired, InvalidField for another length than
        was declared, TooLarge, QuotaExceeded, DigestMismatch, and what reading `chunks` raises.
        """
        row, storage = self._open(upload_id, WHOLE)
        size = self._require_length(row, length)
        if row.length not in (None, size):
            raise InvalidField(f"Content-Length is not {row.length}, as was declared")
        return self._keep(row, storage, _verified(chunks, digests))

    def form(self, upload_id: str, length: int | None, events: Iterable[Event]) -> str:
        """Keep the field `file` of a form, whose other fields come before it; return its tag.

        Raises as `whole` does, and NoFileProvided.
        """
        row, storage = self._open(upload_id, WHOLE)
        if length is not None:
            self._policy(row).check_size(length - LARGEST_FIELD)
        return self._keep(row, storage, self._file_of(row, events))

    def part(
        self,
        upload_id: str,
        number: int,
        length: int | None,
        chunks: Iterable[Buffer],
        digests: tuple[ExpectedDigest, ...] = (),
    ) -> str:
        """Keep the body of one PUT as part `number`, and return its tag. Raises as `whole` does.

        Parts that come at once are each judged before the others are there. So it is looked again
        at the end, and an upload that has become too large by then is over.
        """
        row, storage = self._open(upload_id, PARTS)
        if not isinstance(storage, Multipart) or number > storage.maximum_parts:
            raise FileNotFound
        size = self._require_length(row, length)
        upload = row.storage_state["upload"]
        try:
            others = sum(p.size for p in storage.list_parts(row.key, upload) if p.number != number)
            self._require_room(row, others + size)
            body = io.BufferedReader(_Reader(_verified(chunks, digests)), CHUNK_SIZE)
            stored = storage.put_part(row.key, upload, number, cast(BinaryIO, body))
            self._look_again(row, storage)
        except ObjectNotFound as error:
            self._release(row)
            raise Gone("The upload has ended") from error
        return stored.etag

    def _look_again(self, row: Upload, storage: Multipart) -> None:
        """Hold all parts against what may come. Raises TooLarge and QuotaExceeded."""
        parts = storage.list_parts(row.key, row.storage_state["upload"])
        try:
            self._require_room(row, sum(part.size for part in parts))
        except (TooLarge, QuotaExceeded):
            # Another part may have found out first.
            with suppress(FileNotFound), self._locks.hold(row.id) as hold:
                self._rows.remove(hold, row, late_bytes=False)
            raise

    def _open(self, upload_id: str, mode: str) -> tuple[Upload, Storage]:
        """Return an upload that takes bytes here, and where they go."""
        row = self._rows.get(upload_id) if is_random_name(upload_id) else None
        if row is None or row.protocol_state["mode"] != mode:
            raise FileNotFound
        self._rows.require_live(row)
        if row.state != OPEN:
            raise Conflict("The upload takes no more bytes")
        storage = self._storages[row.backend]
        if isinstance(storage, Presigner):
            raise FileNotFound
        return row, storage

    def _policy(self, row: Upload) -> Policy:
        """Return the policy, of files that are no larger than what was declared."""
        policy = self._rows.policy_of(row)
        return policy if row.length is None else policy.at_most(row.length)

    def _require_length(self, row: Upload, length: int | None) -> int:
        if length is None:
            raise LengthRequired("Send a Content-Length")
        self._policy(row).check_size(length)
        return length

    def _require_room(self, row: Upload, size: int) -> None:
        policy = self._policy(row)
        policy.check_size(size)
        if (room := self._rows.room_of(row, policy)) is not None:
            room.grow(max(size, row.length or 0))

    def _keep(self, row: Upload, storage: Storage, pieces: Iterable[Buffer]) -> str:
        """Store a whole file at its staging key, if its upload is still open at the end."""
        policy, received = self._policy(row), 0
        room = self._rows.room_of(row, policy)
        try:
            with storage.create(row.key) as writer:
                for piece in pieces:
                    received += memoryview(piece).nbytes
                    policy.check_size(received)
                    if room is not None:
                        room.cover(max(received, row.length or 0))
                    writer.write(piece)
                info = writer.commit()
        except BaseException:
            self._release(row)
            raise
        now_there = self._rows.get(row.id)
        if now_there is None or now_there.state != OPEN:
            storage.delete(row.key)
            self._release(row)
            raise Gone("The upload has ended")
        return info.etag

    def _release(self, row: Upload) -> None:
        """Give back what was taken for bytes of an upload that had ended by then."""
        room = self._rows.room_of(row, self._policy(row))
        if room is None:
            return
        now_there = self._rows.get(row.id)
        if now_there is None or now_there.state not in (OPEN, FINISHING):
            room.release()

    def _file_of(self, row: Upload, events: Iterable[Event]) -> Iterator[Buffer]:
        """Yield the file of a form. Raises NoFileProvided for a form without, or with another."""
        seen = False
        for event in events:
            if isinstance(event, memoryview):
                yield event
            elif isinstance(event, FileStart):
                if event.name != FILE_FIELD:
                    raise NoFileProvided
                seen = True
            elif isinstance(event, Field) and event.name == "key" and event.value != row.key:
                raise InvalidField("key is not that of the upload")
        if not seen:
            raise NoFileProvided


def _verified(chunks: Iterable[Buffer], expected: tuple[ExpectedDigest, ...]) -> Iterator[Buffer]:
    """Yield what comes, and raise DigestMismatch at the end where it is not what was named."""
    digests = RunningDigests.of(digest.algorithm for digest in expected)
    try:
        for chunk in chunks:
            digests.update(chunk)
            yield chunk
        digests.verify(expected)
    finally:
        digests.settle()


class _Reader(io.RawIOBase):
    """Chunks as a file that is read once."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = iter(chunks)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, room: Buffer, /) -> int:
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        with memoryview(room) as view:
            taken = min(len(view), len(self._left))
            view[:taken] = self._left[:taken]
        self._left = self._left[taken:]
        return taken
