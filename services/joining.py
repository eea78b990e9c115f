"""Files made of finished parts: what tus calls concatenation.

The bytes of the parts go through ingest as those of any file do, from the store to the store.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from models import Upload, now
from services.caller import Caller
from services.errors import Conflict, FileNotFound, Gone, InvalidField
from services.ingest import Ingest
from services.intake import Declaration
from services.policy import Policy
from services.publishing import Publishing
from services.upload_rows import (
    COMPLETE,
    JOINED,
    PART,
    UploadInfo,
    UploadRows,
    info_of,
    link_end,
    link_of,
)
from storage.base import Storage
from storage.keys import random_name


class Joining:
    """Join finished parts of a caller."""

    def __init__(
        self,
        rows: UploadRows,
        storages: Mapping[str, Storage],
        ingest: Ingest,
        publishing: Publishing,
        expiry: Callable[[int | None], datetime],
    ) -> None:
        self._rows = rows
        self._storages = storages
        self._ingest = ingest
        self._publishing = publishing
        self._expiry = expiry

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

        Where a quota counts them they are spent: the file takes the room that they held. Its bytes
        go through ingest like any others. Raises InvalidField for a part that is not the caller's
        or no part, Conflict for one that is not finished, TooLarge, QuotaExceeded.
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
        spent = _counted_with(parts, policy)
        with self._ingest.admit(caller, whole, spent=list(spent.values())) as intake:
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
                protocol_state={**(kept or {}), "role": JOINED, **link_of(caller)},
                file_id=intake.state.file_id,
                expires_at=self._expiry(link_end(caller)),
            )

            def also(session: Session) -> None:
                session.add(row)
                if spent:
                    over = update(Upload).where(Upload.id.in_(spent))
                    session.execute(over.values(expires_at=now()))

            self._publishing.publish([intake], also=also, spent=list(spent.values()))
            info = info_of(row)
        return info

    def _part(self, caller: Caller, part_id: str) -> Upload:
        try:
            row = self._rows.load(caller, part_id)
        except (FileNotFound, Gone) as error:
            raise InvalidField("Upload-Concat names an upload that is not there") from error
        if row.protocol_state["role"] != PART:
            raise InvalidField("Upload-Concat names an upload that is not partial")
        if row.state != COMPLETE:
            raise Conflict("Upload-Concat names an upload that is not finished")
        return row


def _counted_with(parts: Sequence[Upload], policy: Policy) -> dict[str, str]:
    """Return the ids of those parts that the quota of `policy` counts, and of what they hold."""
    if not policy.has_quota:
        return {}
    counted = [part for part in parts if part.collection == policy.collection]
    return {part.id: part.ingest_state["intake"]["file_id"] for part in counted}
