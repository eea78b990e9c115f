"""The ends of a resumable upload: it becomes a file, or it goes and takes its bytes along.

Each step can be done twice, by whoever comes after one that broke off. The row stays as long as the
store may hold something that only the row tells of.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy.exc import IntegrityError

from models import Upload, now
from services.database import Database
from services.errors import (
    Conflict,
    Gone,
    KeyInvalid,
    LinkUsed,
    QuotaExceeded,
    TooLarge,
    TypeNotAllowed,
)
from services.locks import Hold
from services.policy import Policies, Policy
from services.publishing import Publishing
from services.quotas import release
from services.resumed import Finished
from services.upload_rows import COMPLETE, EXPIRED, PART
from storage.base import Storage
from storage.capabilities import Resumable
from storage.errors import ObjectNotFound, StorageError

log = logging.getLogger("holdall.resumable")


class Endings:
    """End uploads that their holder has a lease on."""

    def __init__(
        self,
        database: Database,
        policies: Policies,
        storages: Mapping[str, Storage],
        publishing: Publishing,
    ) -> None:
        self._database = database
        self._policies = policies
        self._storages = storages
        self._publishing = publishing

    def finish(self, hold: Hold, row: Upload) -> None:
        """Make the object visible, and the upload a file unless it is a part. May be repeated."""
        try:
            stored = self.resumable(row.backend).finish(row.key, row.storage_state, row.offset)
        except ObjectNotFound as error:
            self.remove(hold, row)
            raise Gone("What had arrived of this upload is no longer there") from error
        if row.protocol_state["role"] == PART:
            with self._database.write() as session:
                hold.change(session, state=COMPLETE)
        else:
            policy = self.policy_of(row)
            finished = Finished.of(row.ingest_state, policy, row.annotations, stored)
            file_id = finished.state.file_id
            try:
                self._publishing.publish(
                    [finished],
                    also=lambda session: hold.change(session, state=COMPLETE, file_id=file_id),
                )
            except (KeyInvalid, LinkUsed, QuotaExceeded, TooLarge, TypeNotAllowed):
                self.remove(hold, row)
                raise
            except IntegrityError:
                # The file is there already where the lease was lost on the way: say TakenOver.
                with self._database.write() as session:
                    hold.change(session)
                raise
            row.file_id = file_id
        row.state = COMPLETE

    def remove(self, hold: Hold, row: Upload) -> None:
        """End an upload, and forget it once the store holds nothing of it.

        Its row stays until then: without it, nobody would find what it left in the store.
        """
        self.end(hold, row, expires_at=now())
        self.forget(hold, row)

    def forget(self, hold: Hold, row: Upload) -> None:
        """Delete the row of an upload that has ended, unless the store still holds some of it."""
        if self.free(row):
            with self._database.write() as session:
                hold.remove(session)

    def end(self, hold: Hold, row: Upload, *, expires_at: datetime) -> None:
        """Say that nobody can go on with an upload, before its bytes go, and give back its room."""
        intake = row.ingest_state.get("intake")
        reserved = intake is not None and (intake.get("reserved") or self.policy_of(row).has_quota)
        with self._database.write() as session:
            # Before the upload's own row: the order in which a join takes them.
            if intake is not None and reserved:
                release(session, [intake["file_id"]])
            hold.change(session, state=EXPIRED, expires_at=expires_at)

    def free(self, row: Upload) -> bool:
        """Give back what the store holds of an upload beside its file, and say whether it did.

        An append that broke off may have left bytes in the store even where a file came of the
        upload; where none did, a finish that broke off may have left the object.
        """
        if row.key == "":
            return True
        try:
            self.resumable(row.backend).discard(row.key, row.storage_state)
            if row.file_id is None:
                self._storages[row.backend].delete(row.key)
        except StorageError as error:
            log.warning("bytes were left", extra={"key": row.key, "reason": str(error)})
            return False
        return True

    def delete_object(self, backend: str, key: str) -> None:
        """Delete an object that no row names any more; a store that fails keeps it."""
        try:
            self._storages[backend].delete(key)
        except StorageError as error:
            log.warning("an object was left", extra={"key": key, "reason": str(error)})

    def policy_of(self, row: Upload) -> Policy:
        """Return what holds now for an upload; its bytes stay where they are."""
        policy = replace(self._policies.of(row.collection), backend=row.backend)
        largest = row.protocol_state.get("largest")
        return policy if largest is None else policy.at_most(largest)

    def resumable(self, backend: str) -> Resumable:
        """Return a storage that takes such uploads. Raises Conflict for another one."""
        storage = self._storages[backend]
        if not isinstance(storage, Resumable):
            raise Conflict("The storage of this collection takes no resumable uploads")
        return storage
