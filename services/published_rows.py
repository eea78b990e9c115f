"""The row of a file that is published: how it is made, inserted, logged and shown.

It must not know transactions, nor what else is published with it.
"""

import logging
from typing import Any, Final

from sqlalchemy import insert

from models import Base, File, now
from services.filenames import folded
from services.files import FileInfo
from services.intake import Publishable
from services.metadata import checked
from services.mimetype import family
from services.policy import Policy
from services.statements import Prepared

_TABLE: Final = Base.metadata.tables[File.__tablename__]
# Straight into the table: an ORM object for each row would be made only to be thrown away.
INSERT: Final = Prepared(
    lambda dialect: insert(_TABLE).inline(),
    [column.name for column in _TABLE.columns if not column.primary_key],
)

log = logging.getLogger("holdall.publishing")

_LOGGED: Final = ("id", "size", "content_type", "collection", "backend")


def log_row(row: dict[str, Any]) -> None:
    """Write the line that tells of a published file."""
    if log.isEnabledFor(logging.INFO):
        # Where in our code a line comes from takes as long to find out as to write it.
        record = logging.LogRecord(log.name, logging.INFO, "", 0, "file published", None, None)
        vars(record).update((name, row[name]) for name in _LOGGED)
        log.handle(record)


def row_of(intake: Publishable, policy: Policy) -> dict[str, Any]:
    """Return the row of an inspected intake, under the `policy` of this moment.

    The bytes are where the policy of the moment it was admitted has put them.
    """
    state, stored = intake.state, intake.stored
    if stored is None or state.content_type is None:
        raise RuntimeError("an intake is published before it was inspected")
    policy.check_size(stored.size)
    policy.check_type(state.content_type, state.declared_type)
    moment = now()
    return {
        "id": state.file_id,
        "collection": state.collection,
        "owner": state.owner,
        "visibility": policy.visibility,
        "state": "ready",
        "backend": intake.policy.backend,
        "key": state.key,
        "filename": state.filename,
        "folded": folded(state.filename),
        "content_type": state.content_type,
        "family": family(state.content_type),
        "declared_type": state.declared_type,
        "size": stored.size,
        "etag": intake.sha256 or state.file_id,
        "sha256": intake.sha256,
        "metadata": checked(intake.metadata),
        "media": None,
        "created_at": moment,
        "updated_at": moment,
        "expires_at": policy.expiry(),
        "deleted_at": None,
    }


def shown(row: dict[str, Any]) -> FileInfo:
    """Describe a file just published, out of what was written."""
    return FileInfo(**{name: row[name] for name in FileInfo.__slots__})
