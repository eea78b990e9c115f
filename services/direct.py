"""Direct uploads: the bytes go from the client to the store, and are judged once they are there.

    begin ──▸ signed requests, by which the client sends ──▸ confirm, complete ──▸ a file
      └───────────┴──▸ abort, expire

A storage that clients can send to signs the requests itself (`storage.capabilities.Presigner`);
for the others they lead back to this service (`services.direct_urls`, `services.direct_receipt`).
Nothing that was sent is served before `services.direct_confirm` has looked at it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from models import Upload, now
from services.caller import Caller
from services.direct_confirm import Confirming
from services.direct_rows import PARTS, WHOLE, Rows, id_of
from services.direct_urls import OwnUrls
from services.errors import Conflict, InvalidField, TooLarge
from services.files import FileInfo, Files
from services.ingest import Ingest
from services.intake import Declaration
from services.locks import Hold, Locks
from services.metadata import checked
from services.mimetype import UNKNOWN
from services.quotas import GROWTH, Quotas
from services.upload_rows import DIRECT, FINISHING, OPEN, link_of
from storage.base import Storage
from storage.capabilities import Multipart, Part, Presigner, SignedForm, SignedRequest
from storage.errors import StorageError
from storage.keys import random_name

SIGNED_FOR: Final = timedelta(hours=1)
"""How long a signed request holds at the most; it ends with its upload."""

LARGEST_WHOLE: Final = 5 * 1024**3
"""Bytes of a file that is sent in one request: no S3 store takes more."""

log = logging.getLogger("holdall.direct")


@dataclass(frozen=True, slots=True)
class Begun:
    """A direct upload that began. `request` sends a whole file; one in parts has none yet.

    `key` is what the client names the upload by beside its id, `bucket` the backend's name.
    """

    id: str
    key: str
    bucket: str
    expires_at: datetime | None
    request: SignedRequest | SignedForm | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The file that an upload became; `made` says whether that was now. `bucket` as in Begun."""

    file: FileInfo
    bucket: str
    made: bool


class Direct:
    """The use cases on direct uploads. A caller sees its own only."""

    def __init__(
        self,
        rows: Rows,
        locks: Locks,
        confirming: Confirming,
        storages: Mapping[str, Storage],
        ingest: Ingest,
        files: Files,
        quotas: Quotas,
        urls: OwnUrls,
    ) -> None:
        self._rows = rows
        self._locks = locks
        self._confirming = confirming
        self._storages = storages
        self._ingest = ingest
        self._files = files
        self._quotas = quotas
        self._urls = urls

    def begin_put(self, caller: Caller, declared: Declaration) -> Begun:
        """Begin an upload of a declared size, sent by one PUT.

        Raises as `Ingest.judge` does, QuotaExceeded, and TooLarge for what takes parts.
        """
        size = declared.size
        if size is None:
            raise InvalidField("size is needed for one PUT")
        if size > LARGEST_WHOLE:
            raise TooLarge(f"More than {LARGEST_WHOLE} bytes are sent in parts")
        row = self._begin(caller, declared, WHOLE)
        storage, seconds = self._storages[row.backend], _seconds_left(row)
        content_type = _header(row.declared_type)
        request = (
            storage.presign_put(
                row.key,
                size=size,
                content_type=content_type,
                signed_at=now(),
                expires_in=seconds,
            )
            if isinstance(storage, Presigner)
            else self._urls.put(row.id, size=size, content_type=content_type, expires_in=seconds)
        )
        return _begun(row, request)

    def begin_form(self, caller: Caller, declared: Declaration) -> Begun:
        """Begin an upload sent by one form; its key is the form's field `key`."""
        row = self._begin(caller, declared, WHOLE)
        storage, seconds = self._storages[row.backend], _seconds_left(row)
        policy = self._rows.policy_of(row)
        largest = min(policy.max_size, policy.max_bytes or LARGEST_WHOLE, LARGEST_WHOLE)
        request = (
            storage.presign_post(
                row.key,
                largest=largest if row.length is None else min(row.length, largest),
                content_type=None,
                signed_at=now(),
                expires_in=seconds,
            )
            if isinstance(storage, Presigner)
            else self._urls.form(row.id, row.key, expires_in=seconds)
        )
        return _begun(row, request)

    def begin_parts(self, caller: Caller, declared: Declaration) -> Begun:
        """Begin an upload sent in numbered parts."""
        return _begun(self._begin(caller, declared, PARTS))

    def sign_part(self, caller: Caller, upload_id: str, key: str, number: int) -> SignedRequest:
        """Return the request that sends part `number`, from 1 on.

        Raises FileNotFound, Gone, Conflict, InvalidField for a number that no part has, TooLarge
        and QuotaExceeded.
        """
        row = self._find_open(caller, upload_id, key)
        storage = self._storages[row.backend]
        assert isinstance(storage, Multipart)
        if not 1 <= number <= storage.maximum_parts:
            raise InvalidField(f"number is not one from 1 to {storage.maximum_parts}")
        self._look_after(row, number, storage)
        seconds = _seconds_left(row)
        if isinstance(storage, Presigner):
            upload = row.storage_state["upload"]
            return storage.presign_part(
                row.key, upload, number, signed_at=now(), expires_in=seconds
            )
        return self._urls.part(row.id, number, expires_in=seconds)

    def parts(self, caller: Caller, upload_id: str, key: str) -> list[Part]:
        """Return the parts that have arrived. Raises FileNotFound, Gone and Conflict."""
        row = self._find_open(caller, upload_id, key)
        storage = self._storages[row.backend]
        assert isinstance(storage, Multipart)
        return storage.list_parts(row.key, row.storage_state["upload"])

    def complete(
        self, caller: Caller, upload_id: str, key: str, named: Sequence[tuple[int, str]]
    ) -> Ended:
        """Make the file out of the parts that the client names, or return the one that it became.

        Raises FileNotFound, Gone, Locked, and what `Confirming.agree` and `parts` raise.
        """

        def finish(hold: Hold, row: Upload) -> None:
            if row.state == OPEN:
                self._confirming.agree(hold, row, named)
            self._confirming.parts(hold, row)

        return self._finished(caller, upload_id, PARTS, finish, key)

    def confirm(self, caller: Caller, upload_id: str) -> Ended:
        """Make the file of what was sent whole, or return the one that it became.

        Raises FileNotFound, Gone, Locked, and what `Confirming.whole` raises.
        """
        return self._finished(caller, upload_id, WHOLE, self._confirming.whole)

    def confirm_key(self, caller: Caller, key: str) -> Ended:
        """Do the same for a client that knows no more than the `key` of its form."""
        caller.require("write")
        return self.confirm(caller, id_of(key))

    def abort(self, caller: Caller, upload_id: str, key: str | None = None) -> None:
        """End an upload, and give back what it holds. Raises FileNotFound, Gone and Conflict."""
        self._rows.find(caller, upload_id, key)
        with self._locks.hold(upload_id) as hold:
            row = self._rows.find(caller, upload_id, key)
            if row.file_id is not None:
                raise Conflict("The upload has become a file: delete that")
            late = isinstance(self._storages[row.backend], Presigner)
            self._rows.remove(hold, row, late_bytes=late)
        log.info("direct upload aborted", extra={"upload": upload_id})

    def expire(self, upload_id: str) -> bool:
        """Drop an upload that has expired, and say whether it was; one that was being put
        together is finished. Raises Locked while somebody is at work on it.
        """
        with self._locks.hold(upload_id, patience=0) as hold:
            row = self._rows.get(upload_id)
            if row is None or row.expires_at is None or row.expires_at > now():
                return False
            if row.state == FINISHING:
                self._confirming.parts(hold, row)
            if row.file_id is None and row.state in (OPEN, FINISHING):
                self._rows.remove(hold, row, late_bytes=False)
                log.info("direct upload expired", extra={"upload": upload_id})
                return True
            # A file's staging key, or a refused upload's, may have been written to since.
            if self._rows.free(row):
                self._rows.forget(hold)
            return False

    def _begin(self, caller: Caller, declared: Declaration, mode: str) -> Upload:
        intake, policy = self._ingest.judge(caller, declared)
        room = self._quotas.room(intake, policy, most=policy.max_size, lasts=self._rows.lasts)
        intake = replace(intake, reserved=room is not None)
        storage = self._storages[policy.backend]
        row = {
            "id": random_name(),
            "protocol": DIRECT,
            "state": OPEN,
            "collection": policy.collection,
            "owner": caller.owner,
            "filename": intake.filename,
            "declared_type": intake.declared_type,
            "annotations": checked(declared.metadata),
            "backend": policy.backend,
            "key": intake.key,
            "length": declared.size,
            "offset": 0,
            "ingest_state": {"intake": intake.to_json()},
            "storage_state": {},
            "protocol_state": {"mode": mode, **link_of(caller)},
            "expires_at": self._rows.expiry(caller.link.expires_at if caller.link else None),
        }
        ahead = GROWTH if declared.size is None else 0
        if mode == WHOLE:
            return self._rows.add(row, caller, room, ahead)
        if not isinstance(storage, Multipart):
            raise Conflict("The storage of this collection takes no uploads in parts")
        upload = storage.begin(intake.key, content_type=UNKNOWN)
        try:
            return self._rows.add(row | {"storage_state": {"upload": upload}}, caller, room, ahead)
        except BaseException:
            _abort(storage, intake.key, upload)
            raise

    def _find_open(self, caller: Caller, upload_id: str, key: str) -> Upload:
        """Return an upload that takes parts."""
        row = self._rows.find(caller, upload_id, key)
        if row.state != OPEN or row.protocol_state["mode"] != PARTS:
            raise Conflict("The upload takes no parts, or no more")
        return row

    def _look_after(self, row: Upload, number: int, storage: Multipart) -> None:
        """Count what has arrived now and then, and put the upload's end off.

        The store does not limit what a part holds, nor tell when one arrives; looking each time
        would cost as much as there are parts already.
        """
        if number < row.protocol_state.get("look_at", 2) and self._rows.is_fresh(row):
            return
        parts = storage.list_parts(row.key, row.storage_state["upload"])
        # A part that was sent twice counts once, however often the store lists it.
        arrived = sum({part.number: part.size for part in parts}.values())
        policy = self._rows.policy_of(row)
        if arrived > (policy.max_size if row.length is None else row.length):
            self._give_up(row)
            raise TooLarge(f"{arrived} bytes are more than this upload may have")
        if (room := self._rows.room_of(row, policy)) is not None:
            ahead = GROWTH if row.length is None else 0
            room.reserve(max(arrived, row.length or 0), ahead=ahead)
        # By how many there are: a client may begin with the highest number.
        known = min(number, len(parts))
        state = row.protocol_state | {"look_at": known + 1 + known // 4}
        self._rows.put_off(row, protocol_state=state)

    def _give_up(self, row: Upload) -> None:
        """End an open upload that can become no file: what was signed for it ends too."""
        with self._locks.hold(row.id) as hold:
            found = self._rows.get(row.id)
            if found is not None and found.state == OPEN:
                self._rows.remove(hold, found, late_bytes=False)
                log.info("direct upload refused", extra={"upload": row.id, "reason": "TooLarge"})

    def _finished(
        self,
        caller: Caller,
        upload_id: str,
        mode: str,
        finish: Callable[[Hold, Upload], None],
        key: str | None = None,
    ) -> Ended:
        row = self._rows.find(caller, upload_id, key)
        if row.protocol_state["mode"] != mode:
            raise Conflict("The upload is ended in another way: see how it was begun")
        made = False
        if row.file_id is None:
            with self._locks.hold(upload_id) as hold:
                row = self._rows.find(caller, upload_id, key)
                if row.file_id is None:
                    finish(hold, row)
                    made = True
        assert row.file_id is not None
        return Ended(self._files.describe(row.file_id), row.backend, made)


def _begun(row: Upload, request: SignedRequest | SignedForm | None = None) -> Begun:
    key = request.fields["key"] if isinstance(request, SignedForm) else row.key
    return Begun(row.id, key, row.backend, row.expires_at, request)


def _seconds_left(row: Upload) -> int:
    assert row.expires_at is not None
    left = int((row.expires_at - now()).total_seconds())
    return max(1, min(left, int(SIGNED_FOR.total_seconds())))


def _header(content_type: str | None) -> str:
    """Return a type that a header can hold; what it says is not believed anyway."""
    text = content_type or UNKNOWN
    return text if text.isascii() and text.isprintable() else UNKNOWN


def _abort(storage: Multipart, key: str, upload: str) -> None:
    try:
        storage.abort(key, upload)
    except StorageError as error:
        log.warning("an upload was left", extra={"key": key, "reason": str(error)})
