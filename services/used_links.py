"""What is known of upload links that came into use: those that have had their one file, and the
uploads that one may have under way.

A link is a signed token and no row (`services.links`). That its file is there is written down in
the transaction that publishes it, so only one can be; asked before, it spares the sending.
"""

import hashlib
from base64 import b32encode
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import Upload, UsedLink, now
from services.caller import UploadLink
from services.database import Database
from services.errors import Conflict, LinkUsed
from services.intake import IntakeState

REMEMBERED: Final = timedelta(days=7)
"""How long after its end a used link stays written down, and a slow upload by it may end."""

MOST_UPLOADS: Final = 32
"""Resumable uploads that one link has under way at the most: retries, and the parts of one file."""

_USED: Final = "This link has had its file"


class UsedLinks:
    """Ask whether a link has had its file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def require_unused(self, link: UploadLink) -> None:
        """Raise LinkUsed for a link that has had its file."""
        with self._database.read() as session:
            if session.get(UsedLink, link.id) is not None:
                raise LinkUsed(_USED)


def use_link(session: Session, state: IntakeState) -> None:
    """Write down that the link a file came by has had its file. Raises LinkUsed for a second.

    The first may have been forgotten by the time that REMEMBERED is over.
    """
    if state.link is None:
        return
    until = datetime.fromtimestamp(state.link_until, UTC)
    if until + REMEMBERED <= now():
        raise LinkUsed("This link came to its end long ago")
    used = {"id": state.link, "file_id": state.file_id, "expires_at": until}
    try:
        session.execute(insert(UsedLink), used)
    except IntegrityError as error:
        raise LinkUsed(_USED) from error


def add_upload(session: Session, row: dict[str, Any], link: UploadLink) -> None:
    """Insert the row of an upload by a link, under one of the MOST_UPLOADS ids that it has.

    Raises Conflict when all are taken.
    """
    ids = [_upload_id(link, number) for number in range(MOST_UPLOADS)]
    taken = set(session.scalars(select(Upload.id).where(Upload.id.in_(ids))))
    for row["id"] in [each for each in ids if each not in taken]:
        # Another upload by the same link may take the id at this moment.
        with suppress(IntegrityError), session.begin_nested():
            session.execute(insert(Upload), row)
            return
    raise Conflict("This link has too many uploads under way")


def _upload_id(link: UploadLink, number: int) -> str:
    digest = hashlib.sha256(f"upload {number} of {link.id}".encode()).digest()
    return b32encode(digest).decode().lower()[:26]
