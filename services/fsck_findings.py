"""What fsck finds, what it counts, and the rule by which a row and an object are told to agree.

Knows no database and no storage: it is given what they said.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.thumbnails_wanted import original_of
from services.walking import ELSEWHERE, PENDING, READY, Row
from storage.base import ObjectInfo
from storage.keys import is_random_name, random_name

_NAME_LENGTH = len(random_name())
_KEY_LENGTH = len("ab/") + _NAME_LENGTH


class Kind(StrEnum):
    """What is wrong.

    MISSING: a row whose object is not there. ORPHAN: an object that nothing names. SIZE, SHA256:
    the object is another one than the row says. UNREADABLE: the store answers, but not for this
    object. UNFINISHED: a row that has been waiting for its object longer than the grace period.
    """

    MISSING = "missing"
    ORPHAN = "orphan"
    SIZE = "size"
    SHA256 = "sha256"
    UNREADABLE = "unreadable"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `file` is the id in the row, None for an orphan.

    `expected` and `found` are sizes in bytes, or SHA-256 for that kind. `deleted` says that the
    object was removed, `note` why something is as it is or was left.
    """

    kind: Kind
    backend: str
    key: str
    file: str | None = None
    expected: int | str | None = None
    found: int | str | None = None
    modified: datetime | None = None
    deleted: bool = False
    note: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what is known, as JSON takes it."""
        values = {name: value for name, value in asdict(self).items() if value not in (None, False)}
        values["finding"] = str(values.pop("kind"))
        if self.modified is not None:
            values["modified"] = self.modified.isoformat()
        return {"finding": values.pop("finding"), **values}


@dataclass(slots=True)
class Tally:
    """What one backend's check has counted so far. Sizes are in bytes.

    `paired` are rows whose object is there, `young` objects within the grace period that no row
    names yet, `uploads` objects of transfers that have not ended, `copies` objects that a file of
    another backend has under the same key, `thumbnails` those of files; those of a backend that is
    known to keep objects here too are `shared`. `queued` are to be copied to a mirror or deleted
    there. `doubtful` were to be
    looked at again, `unnamed` those of them without a row. `undigested` are files without a
    SHA-256, `filled` those that got it.
    """

    rows: int = 0
    rows_size: int = 0
    seen_rows: int = 0
    objects: int = 0
    paired: int = 0
    young: int = 0
    uploads: int = 0
    copies: int = 0
    copies_size: int = 0
    thumbnails: int = 0
    shared: int = 0
    queued: int = 0
    doubtful: int = 0
    unnamed: int = 0
    read: int = 0
    read_size: int = 0
    undigested: int = 0
    filled: int = 0
    findings: Counter[Kind] = field(default_factory=Counter)
    orphans_size: int = 0
    deleted: int = 0
    deleted_size: int = 0

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self.findings[finding.kind] += 1
        if finding.kind is Kind.ORPHAN and isinstance(finding.found, int):
            self.orphans_size += finding.found
            self.deleted += finding.deleted
            self.deleted_size += finding.found * finding.deleted

    def as_json(self) -> dict[str, Any]:
        """Return the figures that say something when all is done."""
        shown = (
            "objects",
            "paired",
            "young",
            "uploads",
            "copies",
            "copies_size",
            "thumbnails",
            "shared",
            "queued",
            "read",
            "read_size",
            "undigested",
            "filled",
            "orphans_size",
            "deleted",
            "deleted_size",
        )
        found = {str(kind): number for kind, number in sorted(self.findings.items())}
        figures = {name: getattr(self, name) for name in shown}
        return {"rows": self.seen_rows, **figures, "findings": found}


def judge(row: Row | None, found: ObjectInfo | None, before: datetime) -> Kind | None:
    """Say what is wrong with a row and an object of one key, None when nothing is.

    What began after `before` may be on its way, and so may what has no date, which stores show as
    1970.
    """
    if row is None:
        old = found is not None and found.modified <= before and found.modified.year > 1970
        return Kind.ORPHAN if old else None
    if row.state == ELSEWHERE:
        return None
    if row.state == PENDING:
        return Kind.UNFINISHED if row.created_at <= before else None
    if found is None:
        return Kind.MISSING
    return None if found.size == row.size else Kind.SIZE


def is_sound(row: Row | None, found: ObjectInfo | None) -> bool:
    """Say whether a pair that `judge` has passed is a file whose bytes can be read."""
    return row is not None and row.state == READY and found is not None


def describe(kind: Kind, backend: str, row: Row | None, found: ObjectInfo | None) -> Finding:
    """Make a finding of a row and an object; one of them at least is there."""
    key = row.key if row is not None else found.key if found is not None else ""
    return Finding(
        kind,
        backend,
        key,
        file=None if row is None else row.id,
        expected=None if row is None else row.size,
        found=None if found is None else found.size,
        modified=None if found is None else found.modified,
    )


def base_of(key: str) -> str:
    """Return the key of the upload that the object at `key` would be a tail of, or `key`."""
    is_tail = len(key) == _KEY_LENGTH + _NAME_LENGTH and is_made(key)
    return key[:_KEY_LENGTH] if is_tail else key


def is_made(key: str) -> bool:
    """Say whether `key` is one that this service gives: anything else is somebody else's."""
    if original_of(key) is not None:
        return True
    folder, _, name = key.partition("/")
    first, second = name[:_NAME_LENGTH], name[_NAME_LENGTH:]
    return folder == name[:2] and is_random_name(first) and (not second or is_random_name(second))
