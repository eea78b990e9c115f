"""Who else names an object: a file of any backend, or a transfer that has not ended.

Two backends may be one place under two names, and a file that was moved leaves its object behind
under the same key. So an object is an orphan only when no row of any backend has its key.

It reads the tables, and must not know storages.
"""

from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import Final

from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute
from sqlalchemy.sql.elements import ColumnElement

from models import UNCONFIRMED, File, Upload
from services.fsck_findings import base_of
from services.thumbnails_wanted import original_of


class Named(StrEnum):
    """What names an object: a file, a transfer, or a file whose thumbnail it is."""

    BY_FILE = "file"
    BY_UPLOAD = "upload"
    BY_THUMBNAIL = "thumbnail"


_FINAL: Final = Upload.storage_state["final"].as_string()
"""Where a direct upload's bytes go once they are confirmed, beside the key that they came to."""
_CONFIRMING: Final[ColumnElement[bool]] = literal_column(f"({UNCONFIRMED})")


def names_of(session: Session, keys: Collection[str]) -> dict[str, Named]:
    """Return what names each of `keys`; those that nothing names are left out."""
    bases = {key: base_of(key) for key in keys}
    originals = {key: found for key in keys if (found := original_of(key)) is not None}
    wanted = {*bases, *bases.values()}
    uploads = set(session.scalars(select(Upload.key).where(Upload.key.in_(wanted))))
    uploads.update(session.scalars(select(_FINAL).where(_CONFIRMING, _FINAL.in_(wanted))))
    of_files = select(File.key).where(
        File.backend.in_(list(_values(session, File.backend))),
        File.key.in_([*bases, *originals.values()]),
    )
    files = set(session.scalars(of_files))
    named = {
        key: Named.BY_UPLOAD for key, base in bases.items() if key in uploads or base in uploads
    }
    named.update((key, Named.BY_THUMBNAIL) for key, each in originals.items() if each in files)
    return named | dict.fromkeys(files & bases.keys(), Named.BY_FILE)


def backends_named(session: Session) -> set[str]:
    """Return the backends that files or uploads name."""
    return {*_values(session, File.backend), *session.scalars(select(Upload.backend).distinct())}


def _values(session: Session, column: InstrumentedAttribute[str]) -> Iterator[str]:
    """Yield the distinct values of an indexed column, each by one look into the index."""
    value = session.scalar(select(func.min(column)))
    while value is not None:
        yield value
        value = session.scalar(select(func.min(column)).where(column > value))
