"""The rows of uploads: the states they go through, whose they are, and what is told of them.

Knows no bytes and no protocol.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from models import Upload, now
from services.caller import Caller
from services.database import Database
from services.errors import FileNotFound, Gone

OPEN: Final = "open"
FINISHING: Final = "finishing"
COMPLETE: Final = "complete"
EXPIRED: Final = "expired"

DIRECT: Final = "direct"
"""The protocol of uploads that are none of these: their bytes go around this service."""

PART: Final = "part"
"""The role of an upload that is to be a piece of another; it becomes no file itself."""
WHOLE: Final = "whole"
JOINED: Final = "joined"


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


class UploadRows:
    """Look up uploads, for those who may know of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, upload_id: str) -> Upload | None:
        """Return an upload, whoever asks."""
        with self._database.read() as session:
            return session.get(Upload, upload_id)

    def load(self, caller: Caller, upload_id: str) -> Upload:
        """Return an upload of `caller`. Raises FileNotFound, and Gone for one that expired."""
        row = self.find(upload_id)
        if row is None or row.protocol == DIRECT or not is_for(caller, row):
            raise FileNotFound
        if row.state == EXPIRED or (row.expires_at is not None and row.expires_at <= now()):
            raise Gone("The upload has expired")
        return row


def link_of(caller: Caller) -> dict[str, Any]:
    """Return what an upload keeps of the link that it was begun by."""
    link = caller.link
    if link is None:
        return {}
    return {"link": link.id, "largest": link.max_size, "until": link.expires_at}


def link_end(caller: Caller) -> int | None:
    """Return when the link ends that the caller came by, in seconds since 1970."""
    return None if caller.link is None else caller.link.expires_at


def is_for(caller: Caller, row: Upload) -> bool:
    """Say whether the caller may know of an upload: its own, or the one of its link."""
    if caller.link is not None:
        return bool(row.protocol_state.get("link") == caller.link.id)
    return caller.owns(owner=row.owner, collection=row.collection)


def info_of(row: Upload) -> UploadInfo:
    """Describe an upload."""
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
