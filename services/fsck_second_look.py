"""The second look at what a walk found strange, and what is done about it.

The object is looked at first and the row after it: whoever publishes writes the object before the
row, and whoever deletes removes the row before the object, so in this order nothing that is going
on looks like damage. What no row and no upload names is deleted only where that was asked for, and
after the names were read once more in a transaction for writing.

It must not know any concrete storage.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Final, TextIO

from services.database import Database
from services.fsck_findings import Finding, Kind, Tally, describe, is_made, judge
from services.fsck_names import Named, names_of
from services.fsck_reading import answers
from services.mirroring_fsck import Mending
from services.walking import Row, Rows
from storage.base import ObjectInfo, Storage
from storage.errors import ObjectNotFound, StorageError, StorageUnavailable

WRONG_DATABASE: Final = (
    "left: more objects are without a row than with one, which looks like another database than "
    "theirs; --force deletes them"
)
NOT_OURS: Final = "left: its name is not one that this service gives"


class Notes:
    """Keys in a file, so that memory does not grow with them. Read them once all are there."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._taken = False

    def add(self, key: str) -> None:
        # As JSON: a row's key is whatever stands there, a line end too.
        self._file.write(json.dumps(key) + "\n")

    def take(self, number: int) -> list[str]:
        """Return the next `number` keys, an empty list after the last."""
        if not self._taken:
            self._taken = True
            self._file.seek(0)
        return [json.loads(line) for line in islice(self._file, number)]


@contextmanager
def taking_notes() -> Iterator[Notes]:
    """Open notes in a file without a name, which is gone with the block."""
    with tempfile.TemporaryFile("w+", encoding="ascii") as file:
        yield Notes(file)


@dataclass(frozen=True, slots=True)
class SecondLook:
    """Look again at objects of one backend. What began after `before` may be on its way.

    `mending` is for one that is mirrored.
    """

    database: Database
    rows: Rows
    backend: str
    storage: Storage
    before: datetime
    tally: Tally
    threads: Executor
    repair: bool
    force: bool
    mending: Mending | None = None

    def look(self, keys: Sequence[str]) -> Iterator[Finding]:
        """Yield what is still wrong. Raises StorageUnavailable when the store does not answer."""
        if self.mending is not None:
            queued = self.mending.queued(keys)
            self.tally.queued += len(queued)
            keys = [key for key in keys if key not in queued]
        objects = dict(zip(keys, self.threads.map(self._stat, keys), strict=True))
        rows = self.rows.named(self.backend, keys)
        with self.database.read() as session:
            names = names_of(session, [key for key in keys if key not in rows])
        wrong, orphans = [], []
        for key, found in objects.items():
            row = rows.get(key)
            if isinstance(found, StorageError):
                wrong.append(self._unreadable(key, row, found))
            elif row is None and found is not None and key in names:
                self._count_named(names[key], found)
            elif (kind := judge(row, found, self.before)) is not Kind.ORPHAN:
                if kind is not None:
                    wrong.append(describe(kind, self.backend, row, found))
            elif found is not None:
                orphans.append(found)
        if self.mending is not None:
            wrong = self.mending.told(wrong, repair=self.repair)
        for finding in wrong:
            yield self._told(finding)
        for finding in self._orphans(orphans):
            yield self._told(finding)

    def _stat(self, key: str) -> ObjectInfo | StorageError | None:
        try:
            return self.storage.stat(key)
        except ObjectNotFound:
            return None
        except StorageError as error:
            return error

    def _unreadable(self, key: str, row: Row | None, error: StorageError) -> Finding:
        """Make a finding of an object that the store refuses to show, if it shows others."""
        if not answers(self.storage):
            raise StorageUnavailable(str(error)) from error
        file, expected = (None, None) if row is None else (row.id, row.size)
        return Finding(
            Kind.UNREADABLE, self.backend, key, file=file, expected=expected, note=str(error)
        )

    def _orphans(self, orphans: Sequence[ObjectInfo]) -> Iterator[Finding]:
        if not orphans:
            return
        told = [(found, describe(Kind.ORPHAN, self.backend, None, found)) for found in orphans]
        if not self.repair:
            yield from (finding for _, finding in told)
        elif self.tally.unnamed > self.tally.paired + self.tally.shared and not self.force:
            yield from (replace(finding, note=WRONG_DATABASE) for _, finding in told)
        else:
            yield from self._delete(told)

    def _delete(self, told: Sequence[tuple[ObjectInfo, Finding]]) -> Iterator[Finding]:
        """Delete objects that nothing names, now that whoever was writing a row has done so."""
        with self.database.write() as session:
            names = names_of(session, [found.key for found, _ in told])
        for found, finding in told:
            if found.key in names:
                self._count_named(names[found.key], found)
            elif not is_made(found.key):
                yield replace(finding, note=NOT_OURS)
            else:
                yield self._deleted(finding)

    def _deleted(self, finding: Finding) -> Finding:
        try:
            self.storage.delete(finding.key)
        except StorageError as error:
            if not answers(self.storage):
                raise
            return replace(finding, note=f"left: {error}")
        return replace(finding, deleted=True)

    def _count_named(self, by: Named, found: ObjectInfo) -> None:
        if by is Named.BY_UPLOAD:
            self.tally.uploads += 1
        elif by is Named.BY_THUMBNAIL:
            self.tally.thumbnails += 1
        else:
            self.tally.copies += 1
            self.tally.copies_size += found.size

    def _told(self, finding: Finding) -> Finding:
        self.tally.add(finding)
        return finding
