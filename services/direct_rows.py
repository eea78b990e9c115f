"""The rows of direct uploads: who may touch one, how long it stays, and what goes with it.

A row of protocol DIRECT stands for an upload whose bytes a client sends to the store. WHOLE ones
are sent in one request to a key of their own under STAGING and copied out of it; in PARTS they are
put together at their final key. `storage_state` has the store's `upload` id and the `parts` that a
client has named, or the `final` key that a copy goes to.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Upload, now
from services.caller import Caller
from services.database import Database
from services.errors import FileNotFound, Gone
from services.intake import IntakeState
from services.locks import Hold
from services.policy import Policies, Policy
from services.quotas import Quotas, Room, release
from services.upload_rows import DIRECT, EXPIRED, OPEN, is_for
from services.used_links import add_upload
from storage.base import Storage
from storage.capabilities import Multipart
from storage.errors import StorageError
from storage.keys import is_random_name, validated

WHOLE: Final = "whole"
PARTS: Final = "parts"

STAGING: Final = "00/"
"""The folder of keys that clients send whole files to: no other key begins so."""

log = logging.getLogger("holdall.direct")


def staging_key(upload_id: str) -> str:
    """Return the key that the bytes of a whole upload wait under."""
    return validated(STAGING + upload_id)


def id_of(key: str) -> str:
    """Return the id of the upload that sends to a staging key, as the store was told it.

    Raises FileNotFound for another key.
    """
    folder, _, upload_id = key.rpartition("/")
    if f"/{folder}/".endswith(f"/{STAGING}") and is_random_name(upload_id):
        return upload_id
    raise FileNotFound


def intake_of(row: Upload) -> IntakeState:
    """Return what ingest knows of the file to be."""
    return IntakeState.from_json(row.ingest_state["intake"])


class Rows:
    """Make, find and end the rows of direct uploads."""

    def __init__(
        self,
        database: Database,
        policies: Policies,
        storages: Mapping[str, Storage],
        quotas: Quotas,
        *,
        expires_in: timedelta,
    ) -> None:
        self._database = database
        self._policies = policies
        self._storages = storages
        self._quotas = quotas
        self.lasts = expires_in

    def add(self, row: dict[str, Any], caller: Caller, room: Room | None, ahead: int) -> Upload:
        """Write down a new upload, with the room that it takes.

        Raises QuotaExceeded, and CollectionNotFound where that has just been deleted.
        """
        try:
            with self._database.write() as session:
                if room is not None:
                    room.take(session, row["length"] or 0, ahead=ahead)
                self._insert(session, row, caller)
        except IntegrityError:
            self._policies.look_again(row["collection"])
            raise
        log.info("direct upload begun", extra={"upload": row["id"], "length": row["length"]})
        return Upload(**row)

    def _insert(self, session: Session, row: dict[str, Any], caller: Caller) -> None:
        if caller.link is None:
            session.execute(insert(Upload), row)
        else:
            add_upload(session, row, caller.link)
        if row["protocol_state"]["mode"] == WHOLE:
            row["key"] = staging_key(row["id"])
            mine = update(Upload).where(Upload.id == row["id"])
            session.execute(mine.values(key=row["key"]))

    def find(self, caller: Caller, upload_id: str, key: str | None = None) -> Upload:
        """Return an upload of the caller's. Raises NotSignedIn, FileNotFound, also for a `key`
        that is not its own, and Gone.
        """
        caller.require("write")
        row = self.get(upload_id)
        if row is None or not is_for(caller, row) or key not in (None, row.key):
            raise FileNotFound
        self.require_live(row)
        return row

    def get(self, upload_id: str) -> Upload | None:
        """Return a direct upload, whoever asks and whatever became of it."""
        if not is_random_name(upload_id):
            return None
        with self._database.read() as session:
            row = session.get(Upload, upload_id)
        return row if row is not None and row.protocol == DIRECT else None

    def require_live(self, row: Upload) -> None:
        """Raise Gone for an upload that was refused, ended or has expired."""
        if row.state == EXPIRED or (row.expires_at is not None and row.expires_at <= now()):
            raise Gone("The upload has ended or expired")

    def expiry(self, link_until: int | None) -> datetime:
        """Return when an upload ends that nothing more is heard of."""
        end = now() + self.lasts
        return end if link_until is None else min(end, datetime.fromtimestamp(link_until, UTC))

    def is_fresh(self, row: Upload) -> bool:
        """Say whether less than half of the time is over that an upload may stay silent."""
        return row.expires_at is not None and row.expires_at - now() > self.lasts / 2

    def policy_of(self, row: Upload) -> Policy:
        """Return what holds for the file to be, which stays on the backend where its bytes are."""
        policy = replace(self._policies.of(row.collection), backend=row.backend)
        largest = row.protocol_state.get("largest")
        return policy if largest is None else policy.at_most(largest)

    def room_of(self, row: Upload, policy: Policy) -> Room | None:
        """Return the room that an upload holds, where its collection has a quota."""
        return self._quotas.room(intake_of(row), policy, most=policy.max_size, lasts=self.lasts)

    def put_off(self, row: Upload, **changes: object) -> None:
        """Let an open upload live on, now that something was heard of it."""
        expires_at = self.expiry(row.protocol_state.get("until"))
        mine = update(Upload).where(Upload.id == row.id, Upload.state == OPEN)
        with self._database.write() as session:
            session.execute(mine.values(expires_at=expires_at, updated_at=now(), **changes))

    def change(self, hold: Hold, row: Upload, **values: object) -> None:
        """Change a row that is held. Raises TakenOver."""
        with self._database.write() as session:
            hold.change(session, **values)
        for name, value in values.items():
            setattr(row, name, value)

    def remove(self, hold: Hold, row: Upload, *, late_bytes: bool) -> None:
        """End an upload, give back what it holds, and forget it.

        Where `late_bytes` may still come by a signed request, its row stays until it would have
        expired, so that they are found. It stays too while the store cannot be reached.
        """
        late = late_bytes and row.protocol_state["mode"] == WHOLE
        with self._database.write() as session:
            # Before the upload's own row: the order in which publishing takes them.
            release(session, [intake_of(row).file_id])
            ends = row.expires_at if late else now()
            hold.change(session, state=EXPIRED, expires_at=ends)
        row.state = EXPIRED
        if self.free(row) and not late:
            self.forget(hold)

    def forget(self, hold: Hold) -> None:
        """Delete the row of an upload that holds nothing any more."""
        with self._database.write() as session:
            hold.remove(session)

    def free(self, row: Upload) -> bool:
        """Remove what the store has of an upload beside its file, and say whether that is done."""
        storage, state = self._storages[row.backend], row.storage_state
        try:
            if row.protocol_state["mode"] == WHOLE:
                storage.delete(row.key)
                if row.file_id is None and "final" in state:
                    storage.delete(state["final"])
                return True
            assert isinstance(storage, Multipart)
            storage.abort(row.key, state["upload"])
            if row.file_id is None:
                storage.delete(row.key)
        except StorageError as error:
            log.warning("bytes were left", extra={"key": row.key, "reason": str(error)})
            return False
        return True
