"""Uploads that are made in several requests, by several connections, processes and hosts.

    create ──▸ append … append ──▸ finish ──▸ a file
      └──────────┴───────┴──▸ terminate, expire

All that such an upload needs stands in its row: how far it is, the state of ingest (the first
bytes, the running hash) and of the backend. An append keeps what arrived even when it breaks off.
Once the last byte is durable the row says `finishing`, and whoever comes next, be it a client that
asks how far it is, ends what a crash interrupted: each step can be done twice.

It knows no protocol; tus and the IETF draft are two ways to ask for the same.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from models import Upload, now
from services.caller import Caller
from services.database import Database
from services.errors import (
    Conflict,
    FileNotFound,
    Gone,
    InvalidField,
    LinkUsed,
    NotPermitted,
    OffsetMismatch,
    QuotaExceeded,
    TooLarge,
    TypeNotAllowed,
)
from services.files import Files
from services.ingest import Ingest
from services.intake import Declaration
from services.locks import Hold, Locks
from services.metadata import checked
from services.mimetype import UNKNOWN
from services.policy import Policies, Policy
from services.publishing import Publishing
from services.resumed import NOTHING, Finished, Request, ResumedFeed
from storage.base import Appended, Resumable, Storage
from storage.errors import ObjectNotFound, StorageError
from storage.keys import random_name

log = logging.getLogger("holdall.resumable")

OPEN: Final = "open"
FINISHING: Final = "finishing"
COMPLETE: Final = "complete"
EXPIRED: Final = "expired"

PART: Final = "part"
"""The role of an upload that is to be a piece of another; it becomes no file itself."""
WHOLE: Final = "whole"
JOINED: Final = "joined"


class LengthChanged(InvalidField):
    """A request tells, or its bytes have, another length than the upload was given before."""


@dataclass(frozen=True, slots=True)
class UploadInfo:
    """How an upload stands. Sizes in bytes; `length` is None until the client says it.

    `role` is WHOLE, PART or JOINED. `protocol` is what its protocol keeps with it.
    """

    id: str
    length: int | None
    offset: int
    complete: bool
    role: str
    expires_at: datetime | None
    file_id: str | None
    filename: str
    protocol: Mapping[str, Any]


class Uploads:
    """The use cases on resumable uploads. A caller sees its own only."""

    def __init__(
        self,
        database: Database,
        policies: Policies,
        storages: Mapping[str, Storage],
        ingest: Ingest,
        publishing: Publishing,
        files: Files,
        *,
        expires_in: timedelta,
    ) -> None:
        self._database = database
        self._policies = policies
        self._storages = storages
        self._ingest = ingest
        self._publishing = publishing
        self._files = files
        self._expires_in = expires_in
        self._locks = Locks(database)

    def create(
        self,
        caller: Caller,
        declared: Declaration,
        *,
        protocol: str,
        role: str = WHOLE,
        kept: Mapping[str, Any] | None = None,
    ) -> UploadInfo:
        """Begin an upload. One of no bytes is not complete before its first append or finish.

        Raises as `Ingest.admit` does, and InvalidField for metadata over its limits.
        """
        intake, policy = self._ingest.judge(caller, declared)
        if role == PART:
            # A piece of a file begins anywhere in it: there is nothing to sniff.
            intake = intake.without_sniffing()
        largest = policy.max_size if declared.size is None else declared.size
        storage = self._resumable(policy.backend)
        content_type = intake.content_type or UNKNOWN
        row = {
            "id": random_name(),
            "protocol": protocol,
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
            "ingest_state": {"intake": intake.to_json(), "sha256": None},
            "storage_state": storage.start(intake.key, content_type=content_type, largest=largest),
            "protocol_state": {**(kept or {}), "role": role, **_link_of(caller)},
            "expires_at": now() + self._expires_in,
        }
        with self._database.write() as session:
            session.execute(insert(Upload), row)
        log.info("upload begun", extra={"upload": row["id"], "length": declared.size})
        return _info(Upload(**row))

    def get(self, caller: Caller, upload_id: str) -> UploadInfo:
        """Return how far an upload is, once nobody is at work on it.

        The offset is the one that the next append must name. Raises FileNotFound, Gone, Locked.
        """
        self._find(caller, upload_id)
        with self._locks.hold(upload_id) as hold:
            return _info(self._settled(caller, hold))

    def append(
        self,
        caller: Caller,
        upload_id: str,
        offset: int,
        request: Request,
        *,
        length: int | None = None,
    ) -> UploadInfo:
        """Add the bytes of one request at `offset`, and make the file when they are all there.

        `length` is the upload's, where it was not known before. What arrived is kept when the
        request breaks off, unless it has a checksum to be held against.

        Raises FileNotFound, Gone, Locked, NotPermitted, OffsetMismatch, TooLarge, LengthChanged,
        ChecksumMismatch, TypeNotAllowed, TakenOver, and what reading the request raises.
        """
        self._find(caller, upload_id)
        with self._locks.hold(upload_id) as hold:
            row = self._settled(caller, hold)
            if row.protocol_state["role"] == JOINED:
                raise NotPermitted("An upload that was joined from others takes no bytes")
            if offset != row.offset:
                raise OffsetMismatch(row.offset)
            self._set_length(hold, row, length, request.size)
            if row.state == OPEN:
                self._take_in(hold, row, request)
            if row.state == FINISHING:
                self._finish(hold, row)
            return _info(row)

    def terminate(self, caller: Caller, upload_id: str) -> None:
        """End an upload and free what it holds; one that became a file takes it along."""
        self._find(caller, upload_id)
        with self._locks.hold(upload_id) as hold:
            row = self._load(caller, hold.upload_id)
            if row.file_id is not None:
                with suppress(FileNotFound):
                    self._files.delete(caller, row.file_id)
            self._remove(hold, row)
        log.info("upload terminated", extra={"upload": upload_id})

    def join(
        self,
        caller: Caller,
        declared: Declaration,
        part_ids: Sequence[str],
        *,
        protocol: str,
        kept: Mapping[str, Any] | None = None,
    ) -> UploadInfo:
        """Make one file of finished parts, in order; they stay and may be used again.

        Its bytes go through ingest like any others. Raises InvalidField for a part that is not
        the caller's or no part, Conflict for one that is not finished, TooLarge.
        """
        parts = [self._part(caller, part_id) for part_id in part_ids]
        size = sum(part.offset for part in parts)
        policy = self._ingest.policy_for(caller, declared.collection)
        policy.check_size(size)
        whole = Declaration(
            filename=declared.filename,
            content_type=declared.content_type,
            size=size,
            collection=policy.collection,
            metadata=declared.metadata,
        )
        with self._ingest.admit(caller, whole) as intake:
            for part in parts:
                with self._storages[part.backend].open(part.key) as body:
                    for chunk in body:
                        intake.feed(chunk)
            intake.inspect()
            row = Upload(
                id=random_name(),
                protocol=protocol,
                state=COMPLETE,
                collection=policy.collection,
                owner=caller.owner,
                filename=intake.state.filename,
                declared_type=intake.state.declared_type,
                annotations={},
                backend=policy.backend,
                key="",
                length=size,
                offset=size,
                ingest_state={},
                storage_state={},
                protocol_state={**(kept or {}), "role": JOINED, **_link_of(caller)},
                file_id=intake.state.file_id,
                expires_at=now() + self._expires_in,
            )
            self._publishing.publish([intake], also=lambda session: session.add(row))
            info = _info(row)
        return info

    def expire(self, upload_id: str) -> bool:
        """Drop an upload that has expired, and say whether it was; one that is whole is finished.

        What it held in the store is given back by this or, when that fails, by a later call.
        Raises Locked while somebody is at work on it.
        """
        with self._locks.hold(upload_id, patience=0) as hold:
            row = self._row(upload_id)
            if row is None or row.expires_at is None or row.expires_at > now():
                return False
            if row.state == FINISHING:
                self._finish(hold, row)
            if row.file_id is not None:
                self._forget(hold, row)
                return False
            dropped = row.state != EXPIRED
            self._end(hold, row, expires_at=row.expires_at)
            if self._free(row):
                with self._database.write() as session:
                    hold.change(session, key="", ingest_state={}, storage_state={})
        log.info("upload expired", extra={"upload": upload_id, "offset": row.offset})
        return dropped

    def _find(self, caller: Caller, upload_id: str) -> None:
        """Refuse before any wait what the caller may not see or what is over."""
        caller.require("write")
        self._load(caller, upload_id)

    def _row(self, upload_id: str) -> Upload | None:
        with self._database.read() as session:
            return session.get(Upload, upload_id)

    def _load(self, caller: Caller, upload_id: str) -> Upload:
        row = self._row(upload_id)
        if row is None or not _is_for(caller, row):
            raise FileNotFound
        if row.state == EXPIRED or (row.expires_at is not None and row.expires_at <= now()):
            raise Gone("The upload has expired")
        return row

    def _settled(self, caller: Caller, hold: Hold) -> Upload:
        """Return the row, with whatever a crash left half done done."""
        row = self._load(caller, hold.upload_id)
        if row.state == OPEN and row.length == row.offset == 0:
            self._take_in(hold, row, NOTHING)
        if row.state == FINISHING:
            self._finish(hold, row)
        return row

    def _part(self, caller: Caller, part_id: str) -> Upload:
        try:
            row = self._load(caller, part_id)
        except (FileNotFound, Gone) as error:
            raise InvalidField("Upload-Concat names an upload that is not there") from error
        if row.protocol_state["role"] != PART:
            raise InvalidField("Upload-Concat names an upload that is not partial")
        if row.state != COMPLETE:
            raise Conflict("Upload-Concat names an upload that is not finished")
        return row

    def _set_length(self, hold: Hold, row: Upload, length: int | None, size: int | None) -> None:
        """Learn the length once, and refuse what would go beyond it."""
        policy = self._policy_of(row)
        if length is not None:
            if row.length is not None and row.length != length:
                raise LengthChanged("Upload-Length cannot be changed")
            if length < row.offset:
                raise LengthChanged("Upload-Length is less than what has arrived")
            policy.check_size(length)
            if row.length is None:
                with self._database.write() as session:
                    hold.change(session, length=length)
                row.length = length
        if row.length is not None and size is not None and row.offset + size > row.length:
            raise TooLarge(f"The upload ends at {row.length} bytes")
        if size is not None:
            policy.check_size(row.offset + size)

    def _take_in(self, hold: Hold, row: Upload, request: Request) -> None:
        """Add what the request brings, write down how far that is, and pass on what broke it."""
        feed = ResumedFeed(
            row.ingest_state,
            self._policy_of(row),
            self._ingest.sniffer,
            self._resumable(row.backend),
            row.storage_state,
            hold,
        )
        try:
            with feed:
                broken = request.pour_into(feed, hold, row.length)
                if request.last and broken is None and row.length not in (None, feed.received):
                    raise LengthChanged("Upload-Length is not where the last bytes end")
                ends = row.length == feed.received or (request.last and broken is None)
                appended = feed.complete() if ends else feed.keep()
                self._checkpoint(hold, row, feed, appended, ends=ends)
        except TypeNotAllowed:
            self._remove(hold, row)
            raise
        except ObjectNotFound as error:
            self._remove(hold, row)
            raise Gone("What had arrived of this upload is no longer there") from error
        for key in appended.superseded:
            self._delete_object(row.backend, key)
        if broken is not None:
            raise broken

    def _checkpoint(
        self, hold: Hold, row: Upload, feed: ResumedFeed, appended: Appended, *, ends: bool
    ) -> None:
        """Write down how far the upload is; from then on the client may be told."""
        row.offset = feed.received
        row.length = feed.received if ends else row.length
        row.ingest_state = feed.ingest_state()
        row.storage_state = appended.state
        row.state = FINISHING if ends else OPEN
        row.expires_at = now() + self._expires_in
        columns = ("offset", "length", "ingest_state", "storage_state", "state", "expires_at")
        with self._database.write() as session:
            hold.change(session, **{name: getattr(row, name) for name in columns})

    def _finish(self, hold: Hold, row: Upload) -> None:
        """Make the object visible, and the upload a file unless it is a part. May be repeated."""
        try:
            stored = self._resumable(row.backend).finish(row.key, row.storage_state, row.offset)
        except ObjectNotFound as error:
            self._remove(hold, row)
            raise Gone("What had arrived of this upload is no longer there") from error
        if row.protocol_state["role"] == PART:
            with self._database.write() as session:
                hold.change(session, state=COMPLETE)
        else:
            policy = self._policy_of(row)
            finished = Finished.of(row.ingest_state, policy, row.annotations, stored)
            file_id = finished.state.file_id
            try:
                self._publishing.publish(
                    [finished],
                    also=lambda session: hold.change(session, state=COMPLETE, file_id=file_id),
                )
            except (LinkUsed, QuotaExceeded):
                self._remove(hold, row)
                raise
            except IntegrityError:
                # The file is there already where the lease was lost on the way: say TakenOver.
                with self._database.write() as session:
                    hold.change(session)
                raise
            row.file_id = file_id
        row.state = COMPLETE

    def _remove(self, hold: Hold, row: Upload) -> None:
        """End an upload, and forget it once the store holds nothing of it.

        Its row stays until then: without it, nobody would find what it left in the store.
        """
        self._end(hold, row, expires_at=now())
        self._forget(hold, row)

    def _forget(self, hold: Hold, row: Upload) -> None:
        """Delete the row of an upload that has ended, unless the store still holds some of it."""
        if self._free(row):
            with self._database.write() as session:
                hold.remove(session)

    def _end(self, hold: Hold, row: Upload, *, expires_at: datetime) -> None:
        """Say that nobody can go on with an upload, before its bytes go."""
        with self._database.write() as session:
            hold.change(session, state=EXPIRED, expires_at=expires_at)

    def _free(self, row: Upload) -> bool:
        """Give back what the store holds of an upload beside its file, and say whether it did.

        An append that broke off may have left bytes in the store even where a file came of the
        upload; where none did, a finish that broke off may have left the object.
        """
        if row.key == "":
            return True
        try:
            self._resumable(row.backend).discard(row.key, row.storage_state)
            if row.file_id is None:
                self._storages[row.backend].delete(row.key)
        except StorageError as error:
            log.warning("bytes were left", extra={"key": row.key, "reason": str(error)})
            return False
        return True

    def _delete_object(self, backend: str, key: str) -> None:
        try:
            self._storages[backend].delete(key)
        except StorageError as error:
            log.warning("an object was left", extra={"key": key, "reason": str(error)})

    def _policy_of(self, row: Upload) -> Policy:
        policy = self._policies.of(row.collection)
        largest = row.protocol_state.get("largest")
        return policy if largest is None else policy.at_most(largest)

    def _resumable(self, backend: str) -> Resumable:
        storage = self._storages[backend]
        if not isinstance(storage, Resumable):
            raise Conflict("The storage of this collection takes no resumable uploads")
        return storage


def _link_of(caller: Caller) -> dict[str, Any]:
    """Return what an upload keeps of the link that it was begun by."""
    link = caller.link
    return {} if link is None else {"link": link.id, "largest": link.max_size}


def _is_for(caller: Caller, row: Upload) -> bool:
    """Say whether the caller may know of an upload: its own, or the one of its link."""
    if caller.link is not None:
        return bool(row.protocol_state.get("link") == caller.link.id)
    return caller.owns(owner=row.owner, collection=row.collection)


def _info(row: Upload) -> UploadInfo:
    return UploadInfo(
        id=row.id,
        length=row.length,
        offset=row.offset,
        complete=row.state == COMPLETE,
        role=row.protocol_state["role"],
        expires_at=row.expires_at,
        file_id=row.file_id,
        filename=row.filename,
        protocol=row.protocol_state,
    )
