"""What makes a file of bytes that a client has sent to the store: look, compare, sniff, publish.

    whole:  stat ▸ size ▸ sniff ▸ copy that very version out of staging ▸ sniff the copy ▸ publish
    parts:  compare with the store's own list ▸ write down ▸ complete ▸ sniff ▸ publish

A client can send again what its signed request allows for as long as that holds, so what is
published is an object that no signed request names, or one that none can change any more. Each
step can be done twice. Nothing that a client says of its bytes is believed.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, TypeVar

from sqlalchemy.exc import IntegrityError as SameFile

from models import Upload
from services.direct_rows import Rows, intake_of
from services.errors import (
    Conflict,
    Gone,
    InvalidField,
    KeyInvalid,
    LinkUsed,
    QuotaExceeded,
    TakenOver,
    TooLarge,
    TruncatedBody,
    TypeNotAllowed,
)
from services.intake import IntakeState
from services.locks import LOOK_EVERY, Hold
from services.mimetype import SNIFFED, Sniffer
from services.policy import Policy
from services.publishing import Publishing
from services.upload_rows import COMPLETE, FINISHING, OPEN
from storage.base import ObjectInfo, Storage
from storage.capabilities import Multipart, Part, Presigner
from storage.errors import IntegrityError, ObjectNotFound, StorageError, StorageUnavailable
from storage.keys import new_key

AT_ONCE: Final = 16
"""Copies and completions under way in one process."""

_CHANGED: Final = "The bytes changed while they were looked at: confirm again"
_REFUSED: Final = (TooLarge, TypeNotAllowed, QuotaExceeded, LinkUsed, KeyInvalid)
T = TypeVar("T")

log = logging.getLogger("holdall.direct")


@dataclass
class Checked:
    """An object that was looked at, ready to be published."""

    state: IntakeState
    policy: Policy
    metadata: dict[str, Any]
    stored: ObjectInfo | None
    sha256: str | None = None

    def keep(self) -> None:
        """Nothing discards it: its upload's row remembers it until the file's does."""


class Confirming:
    """Make files of uploads that are held. A refused upload is ended, and nothing of it stays."""

    def __init__(
        self,
        rows: Rows,
        storages: Mapping[str, Storage],
        sniffer: Sniffer,
        publishing: Publishing,
    ) -> None:
        self._rows = rows
        self._storages = storages
        self._sniffer = sniffer
        self._publishing = publishing
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="direct")

    def whole(self, hold: Hold, row: Upload) -> None:
        """Publish what was sent to the staging key of `row`.

        Raises Conflict while nothing is there, TruncatedBody, TooLarge, TypeNotAllowed,
        QuotaExceeded and LinkUsed.
        """
        storage = self._storages[row.backend]
        with self._refusing(hold, row):
            policy = self._rows.policy_of(row)
            staged = self._staged(storage, row)
            self._require_room(row, policy, staged.size)
            self._sniffed(storage, staged, row, policy)
            stored = self._copied_out(hold, row, storage, staged)
            try:
                content_type = self._sniffed(storage, stored, row, policy)
                self._publish(hold, row, policy, stored, content_type)
            except TakenOver:
                _delete(storage, stored.key)
                raise
        _delete(storage, row.key)

    def agree(self, hold: Hold, row: Upload, named: Sequence[tuple[int, str]]) -> None:
        """Write down of which parts the object of `row` is to be made.

        `named` are numbers and tags as the client has them. Raises InvalidField where the store
        knows others, TooLarge, QuotaExceeded, and Gone.
        """
        storage = self._multipart(row)
        try:
            stored = storage.list_parts(row.key, _upload_of(row))
        except ObjectNotFound as error:
            self._rows.remove(hold, row, late_bytes=False)
            raise Gone("The parts of this upload are no longer there") from error
        parts = _matching(named, stored, storage.minimum_part_size)
        with self._refusing(hold, row):
            size = sum(part.size for part in parts)
            self._require_room(row, self._rows.policy_of(row), size)
        kept = [[part.number, part.etag, part.size] for part in parts]
        state = row.storage_state | {"parts": kept}
        self._rows.change(hold, row, state=FINISHING, storage_state=state)

    def parts(self, hold: Hold, row: Upload) -> None:
        """Make the object out of the parts that were agreed on, and publish it.

        Raises Conflict where one was replaced since, Gone, TypeNotAllowed, QuotaExceeded and
        LinkUsed.
        """
        storage = self._multipart(row)
        parts = [Part(*each) for each in row.storage_state["parts"]]
        try:
            stored = self._held(hold, lambda: storage.complete(row.key, _upload_of(row), parts))
        except ObjectNotFound as error:
            self._rows.remove(hold, row, late_bytes=False)
            raise Gone("The parts of this upload are no longer there") from error
        except IntegrityError as error:
            self._rows.change(hold, row, state=OPEN)
            raise Conflict("A part is not the one that was named: list them again") from error
        with self._refusing(hold, row):
            policy = self._rows.policy_of(row)
            content_type = self._sniffed(self._storages[row.backend], stored, row, policy)
            self._publish(hold, row, policy, stored, content_type)

    @contextmanager
    def _refusing(self, hold: Hold, row: Upload) -> Iterator[None]:
        """End an upload that the block refuses."""
        try:
            yield
        except _REFUSED as refusal:
            late = isinstance(self._storages[row.backend], Presigner)
            self._rows.remove(hold, row, late_bytes=late)
            reason = type(refusal).__name__
            log.info("direct upload refused", extra={"upload": row.id, "reason": reason})
            raise

    def _staged(self, storage: Storage, row: Upload) -> ObjectInfo:
        try:
            return storage.stat(row.key)
        except ObjectNotFound as error:
            raise Conflict("No bytes have arrived for this upload") from error

    def _require_room(self, row: Upload, policy: Policy, size: int) -> None:
        """Hold the size against what was declared, the policy and the quota."""
        policy.check_size(size)
        if row.length is not None and size > row.length:
            raise TooLarge(f"{size} bytes came of an upload of {row.length}")
        if row.length is not None and size < row.length:
            raise TruncatedBody(f"{size} bytes came of an upload of {row.length}")
        if (room := self._rows.room_of(row, policy)) is not None:
            room.reserve(size)

    def _sniffed(self, storage: Storage, found: ObjectInfo, row: Upload, policy: Policy) -> str:
        """Return the type of an object by its first bytes. Raises TypeNotAllowed, Conflict."""
        intake = intake_of(row)
        try:
            with storage.open(found.key, 0, SNIFFED) as body:
                if (body.info.etag, body.info.size) != (found.etag, found.size):
                    raise Conflict(_CHANGED)
                head = b"".join(body)
        except ObjectNotFound as error:
            raise Conflict(_CHANGED) from error
        content_type = self._sniffer.content_type(head, intake.filename)
        policy.check_type(content_type, intake.declared_type)
        return content_type

    def _copied_out(
        self, hold: Hold, row: Upload, storage: Storage, staged: ObjectInfo
    ) -> ObjectInfo:
        """Copy the version that was looked at to a key that no client knows.

        The key is a new one at each attempt and stands in the row before: one that lost its lease
        and goes on late writes to a place that nothing names.
        """
        if (earlier := row.storage_state.get("final")) is not None:
            storage.delete(earlier)
        final = new_key()
        self._rows.change(hold, row, storage_state=row.storage_state | {"final": final})
        try:
            stored = self._held(hold, lambda: storage.copy(row.key, final, etag=staged.etag))
        except (IntegrityError, ObjectNotFound) as error:
            raise Conflict(_CHANGED) from error
        except TakenOver:
            _delete(storage, final)
            raise
        if stored.size != staged.size:
            raise StorageUnavailable("the store has copied another number of bytes")
        return stored

    def _publish(
        self, hold: Hold, row: Upload, policy: Policy, stored: ObjectInfo, content_type: str
    ) -> None:
        state = replace(
            intake_of(row), key=stored.key, received=stored.size, content_type=content_type
        )
        checked = Checked(state, policy, dict(row.annotations), stored)
        done = {"state": COMPLETE, "file_id": state.file_id, "offset": stored.size}
        try:
            self._publishing.publish([checked], also=lambda session: hold.change(session, **done))
        except SameFile:
            # The file is there already where the lease was lost on the way: say TakenOver.
            self._rows.change(hold, row)
            raise
        row.state, row.file_id = COMPLETE, state.file_id

    def _held(self, hold: Hold, job: Callable[[], T]) -> T:
        """Do what may take long in another thread, while the lease is renewed in this one."""
        running = self._threads.submit(job)
        try:
            while not wait([running], timeout=LOOK_EVERY).done:
                hold.is_wanted()
        finally:
            wait([running])
        return running.result()

    def _multipart(self, row: Upload) -> Multipart:
        storage = self._storages[row.backend]
        if not isinstance(storage, Multipart):
            raise Conflict("The storage of this collection takes no uploads in parts")
        return storage


def _delete(storage: Storage, key: str) -> None:
    """Delete an object that nothing names any more; the sweep finds what is left of them."""
    with suppress(StorageError):
        storage.delete(key)


def _upload_of(row: Upload) -> str:
    upload_id: str = row.storage_state["upload"]
    return upload_id


def _matching(
    named: Sequence[tuple[int, str]], stored: Sequence[Part], smallest: int
) -> list[Part]:
    """Return the stored parts that a client names, in its order. Tags may come without quotes.

    SeaweedFS lists a part that was sent twice as two of one number.
    """
    known = {(part.number, part.etag): part for part in stored}
    if not named:
        raise InvalidField("parts names no part")
    if any(first >= second for (first, _), (second, _) in pairwise(named)):
        raise InvalidField("parts are not in ascending order of PartNumber")
    parts = []
    for number, etag in named:
        part = known.get((number, etag.strip().strip('"')))
        if part is None:
            raise InvalidField(f"parts names a part {number} that is not stored under that ETag")
        parts.append(part)
    if small := next((part for part in parts[:-1] if part.size < smallest), None):
        raise InvalidField(f"parts has a part {small.number} of less than {smallest} bytes")
    return parts
