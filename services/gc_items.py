"""What gc removes, one by one, and how it is asked to. Knows no database and no storage."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What was left.

    UPLOAD, FILE: has expired. TRASH: a file that was in the trash for long enough. PENDING: a
    file's row that still waits for its object. ORPHAN: an object that nothing names. MULTIPART: an
    upload in parts on a store. STAGING: bytes that a client sent to the store itself. UNFINISHED:
    bytes of a resumable upload without its row. TEMPORARY: a file that was being written on a local
    disk. SCRATCH: one in the folder for bytes on their way.
    """

    UPLOAD = "upload"
    FILE = "file"
    TRASH = "trash"
    PENDING = "pending"
    ORPHAN = "orphan"
    MULTIPART = "multipart"
    STAGING = "staging"
    UNFINISHED = "unfinished"
    TEMPORARY = "temporary"
    SCRATCH = "scratch"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was left. `name` is an id or a key, `size` is in bytes, `since` in UTC.

    `note` says why it was not removed.
    """

    kind: Kind
    name: str
    backend: str | None = None
    size: int | None = None
    since: datetime | None = None
    note: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what is known, as JSON takes it."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        if self.since is not None:
            known["since"] = self.since.isoformat()
        return known | {"kind": str(self.kind)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to collect. What was touched within `grace` stays, but for what has an end of its own.

    `dry_run` changes nothing. `skip` are backends that are left alone. `patience`, `force` and
    `prefixes` are those of `services.fsck`, for the search of orphans.
    """

    grace: timedelta
    dry_run: bool = False
    force: bool = False
    expired: bool = True
    skip: frozenset[str] = frozenset()
    patience: timedelta | None = None
    prefixes: tuple[str, ...] | None = None
