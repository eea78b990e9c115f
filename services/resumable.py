"""Uploads that are made in several requests, by several connections, processes and hosts.

    create ──▸ append … append ──▸ finish ──▸ a file
      └──────────┴───────┴──▸ terminate, expire

All that such an upload needs stands in its row: how far it is, the state of ingest (the first
bytes, the running hash) and of the backend. An append keeps what arrived even when it breaks off.
Once the last byte is durable the row says `finishing`, and whoever comes next, be it a client that
asks how far it is, ends what a crash interrupted: each step can be done twice.

How an upload ends stands in `services.endings`, what is told of it in `services.upload_rows`, and
files made of finished parts in `services.joining`. No protocol is known here: tus and the IETF
draft are two ways to ask for the same.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from models import Upload, now
from services.caller import Caller
from services.database import Database
from services.endings import Endings
from services.errors import (
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
from services.intake import Declaration, IntakeState
from services.joining import Joining
from services.locks import Hold, Locks
from services.metadata import checked
from services.mimetype import UNKNOWN
from services.policy import Policies, Policy
from services.publishing import Publishing
from services.quotas import LASTS, Quotas, Room
from services.resumed import NOTHING, Request, ResumedFeed
from services.upload_rows import (
    EXPIRED,
    FINISHING,
    JOINED,
    OPEN,
    PART,
    WHOLE,
    UploadInfo,
    UploadRows,
    info_of,
    link_end,
    link_of,
)
from services.used_links import add_upload
from storage.base import Storage
from storage.capabilities import Appended
from storage.errors import ObjectNotFound
from storage.keys import random_name

log = logging.getLogger("holdall.resumable")


class LengthChanged(InvalidField):
    """A request tells, or its bytes have, another length than the upload was given before."""


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
        quotas: Quotas,
        *,
        expires_in: timedelta,
    ) -> None:
        self._database = database
        self._policies = policies
        self._ingest = ingest
        self._files = files
        self._quotas = quotas
        self._expires_in = expires_in
        self._locks = Locks(database)
        self._rows = UploadRows(database)
        self._endings = Endings(database, policies, storages, publishing)
        self.joining = Joining(self._rows, storages, ingest, publishing, self._expiry)

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
        room = self._room(intake, policy, role)
        intake = replace(intake, reserved=room is not None)
        if role == PART:
            # A piece of a file begins anywhere in it: there is nothing to sniff.
            intake = intake.without_sniffing()
        largest = policy.max_size if declared.size is None else declared.size
        storage = self._endings.resumable(policy.backend)
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
            "protocol_state": {**(kept or {}), "role": role, **link_of(caller)},
            "expires_at": self._expiry(link_end(caller)),
        }
        try:
            with self._database.write() as session:
                if room is not None:
                    room.take(session, declared.size or 0)
                if caller.link is None:
                    session.execute(insert(Upload), row)
                else:
                    add_upload(session, row, caller.link)
        except IntegrityError:
            self._policies.look_again(policy.collection)
            raise
        log.info("upload begun", extra={"upload": row["id"], "length": declared.size})
        return info_of(Upload(**row))

    def get(self, caller: Caller, upload_id: str) -> UploadInfo:
        """Return how far an upload is, once nobody is at work on it.

        The offset is the one that the next append must name. Raises FileNotFound, Gone, Locked.
        """
        self._find(caller, upload_id)
        with self._locks.hold(upload_id) as hold:
            return info_of(self._settled(caller, hold))

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
                self._require_unused(caller, hold, row)
                self._take_in(hold, row, request)
            if row.state == FINISHING:
                self._endings.finish(hold, row)
            return info_of(row)

    def terminate(self, caller: Caller, upload_id: str) -> None:
        """End an upload and free what it holds; one that became a file takes it along."""
        self._find(caller, upload_id)
        with self._locks.hold(upload_id) as hold:
            row = self._rows.load(caller, hold.upload_id)
            if row.file_id is not None:
                with suppress(FileNotFound):
                    self._files.delete(caller, row.file_id)
            self._endings.remove(hold, row)
        log.info("upload terminated", extra={"upload": upload_id})

    def expire(self, upload_id: str) -> bool:
        """Drop an upload that has expired, and say whether it was; one that is whole is finished.

        What it held in the store is given back by this or, when that fails, by a later call.
        Raises Locked while somebody is at work on it.
        """
        with self._locks.hold(upload_id, patience=0) as hold:
            row = self._rows.find(upload_id)
            if row is None or row.expires_at is None or row.expires_at > now():
                return False
            if row.state == FINISHING:
                self._endings.finish(hold, row)
            if row.file_id is not None:
                self._endings.forget(hold, row)
                return False
            dropped = row.state != EXPIRED
            self._endings.end(hold, row, expires_at=row.expires_at)
            if self._endings.free(row):
                with self._database.write() as session:
                    hold.change(session, key="", ingest_state={}, storage_state={})
        log.info("upload expired", extra={"upload": upload_id, "offset": row.offset})
        return dropped

    def _find(self, caller: Caller, upload_id: str) -> None:
        """Refuse before any wait what the caller may not see or what is over."""
        caller.require("write")
        self._rows.load(caller, upload_id)

    def _settled(self, caller: Caller, hold: Hold) -> Upload:
        """Return the row, with whatever a crash left half done done."""
        row = self._rows.load(caller, hold.upload_id)
        if row.state == OPEN and row.length == row.offset == 0:
            self._take_in(hold, row, NOTHING)
        if row.state == FINISHING:
            self._endings.finish(hold, row)
        return row

    def _set_length(self, hold: Hold, row: Upload, length: int | None, size: int | None) -> None:
        """Learn the length once, and refuse what would go beyond it."""
        policy = self._endings.policy_of(row)
        if length is not None:
            if row.length is not None and row.length != length:
                raise LengthChanged("Upload-Length cannot be changed")
            if length < row.offset:
                raise LengthChanged("Upload-Length is less than what has arrived")
            policy.check_size(length)
            if row.length is None:
                room = self._room_of(row, policy)
                with self._database.write() as session:
                    if room is not None:
                        room.take(session, length)
                    hold.change(session, length=length)
                row.length = length
        if row.length is not None and size is not None and row.offset + size > row.length:
            raise TooLarge(f"The upload ends at {row.length} bytes")
        if size is not None:
            policy.check_size(row.offset + size)

    def _take_in(self, hold: Hold, row: Upload, request: Request) -> None:
        """Add what the request brings, write down how far that is, and pass on what broke it."""
        policy = self._endings.policy_of(row)
        room = self._room_of(row, policy)
        feed = ResumedFeed(
            row.ingest_state,
            policy,
            self._ingest.sniffer,
            self._endings.resumable(row.backend),
            row.storage_state,
            hold,
            room,
        )
        try:
            if room is not None:
                room.go_on(row.offset + (request.size or 0) if row.length is None else row.length)
            with feed:
                broken = request.pour_into(feed, hold, row.length)
                if request.last and broken is None and row.length not in (None, feed.received):
                    raise LengthChanged("Upload-Length is not where the last bytes end")
                ends = row.length == feed.received or (request.last and broken is None)
                appended = feed.complete() if ends else feed.keep()
                self._checkpoint(hold, row, feed, appended, room, ends=ends)
        except TypeNotAllowed:
            self._endings.remove(hold, row)
            raise
        except QuotaExceeded:
            # Who has sent nothing yet may not even know the upload, which would hold room for long.
            if row.offset == 0:
                self._endings.remove(hold, row)
            raise
        except ObjectNotFound as error:
            self._endings.remove(hold, row)
            raise Gone("What had arrived of this upload is no longer there") from error
        for key in appended.superseded:
            self._endings.delete_object(row.backend, key)
        if broken is not None:
            raise broken

    def _checkpoint(
        self,
        hold: Hold,
        row: Upload,
        feed: ResumedFeed,
        appended: Appended,
        room: Room | None,
        *,
        ends: bool,
    ) -> None:
        """Write down how far the upload is; from then on the client may be told."""
        row.offset = feed.received
        row.length = feed.received if ends else row.length
        row.ingest_state = feed.ingest_state()
        row.storage_state = appended.state
        row.state = FINISHING if ends else OPEN
        row.expires_at = self._expiry(row.protocol_state.get("until"))
        columns = ("offset", "length", "ingest_state", "storage_state", "state", "expires_at")
        with self._database.write() as session:
            if room is not None:
                room.keep(session, row.offset if row.length is None else row.length)
            hold.change(session, **{name: getattr(row, name) for name in columns})

    def _require_unused(self, caller: Caller, hold: Hold, row: Upload) -> None:
        """Drop an upload whose link has had its file by another one. Raises LinkUsed."""
        try:
            self._ingest.require_unused(caller)
        except LinkUsed:
            self._endings.remove(hold, row)
            raise

    def _expiry(self, link_until: int | None) -> datetime:
        """Return when an upload ends that gets no more bytes: with the link it is made by."""
        end = now() + self._expires_in
        return end if link_until is None else min(end, datetime.fromtimestamp(link_until, UTC))

    def _room(self, intake: IntakeState, policy: Policy, role: str) -> Room | None:
        """Return the room of an upload, which stands a while longer than the upload itself."""
        files = 0 if role == PART else 1
        return self._quotas.room(intake, policy, files=files, lasts=self._expires_in + LASTS)

    def _room_of(self, row: Upload, policy: Policy) -> Room | None:
        if not policy.has_quota:
            return None
        intake = IntakeState.from_json(row.ingest_state["intake"])
        return self._room(intake, policy, row.protocol_state["role"])
