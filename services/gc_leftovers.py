"""Find what lies in a store beside its objects, and no row knows of any more.

A crash between a store's answer and our record leaves an upload in parts; a request that was signed
may still be used when its upload is forgotten; a killed process leaves the file it was writing. The
store is listed first and the rows are asked after it, in a transaction for writing: what a row is
being written for is then seen. Only what is older than a moment goes, since a slow upload that is
under way by another door has no row.

It must not know any concrete storage.
"""

import fcntl
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from services.database import Database
from services.direct_rows import STAGING
from services.fsck_names import Named, names_of
from services.gc_items import Item, Kind
from storage.base import Storage
from storage.capabilities import Multipart, Resumable, Sweepable

_AT_ONCE: Final = 200
_UNKNOWN_TYPE: Final = "application/octet-stream"

log = logging.getLogger("holdall.gc")


@dataclass(frozen=True, slots=True)
class _Found:
    """Something a store has, and how to remove it."""

    item: Item
    remove: Callable[[], None]


class Leftovers:
    """Look for them, and remove them unless `dry_run`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(
        self, backend: str, storage: Storage, before: datetime, *, dry_run: bool
    ) -> Iterator[Item]:
        """Yield what was left in a store and not touched since `before`. Raises StorageError."""
        for search in (_multiparts, _staging, _unfinished):
            found = search(backend, storage, before)
            while some := list(islice(found, _AT_ONCE)):
                yield from self._unknown(some, dry_run=dry_run)
        if isinstance(storage, Sweepable):
            for left in storage.sweep(before, remove=not dry_run):
                yield _told(
                    Item(Kind.TEMPORARY, left.name, backend, left.size, left.modified), dry_run
                )

    def _unknown(self, some: Sequence[_Found], *, dry_run: bool) -> Iterator[Item]:
        """Yield and remove those that no upload's row names: the sweep of rows sees to the others.

        A file's row says nothing here: what it names is whole, and is something else.
        """
        with self._database.write() as session:
            names = names_of(session, [found.item.name for found in some])
        for found in some:
            if names.get(found.item.name) is not Named.BY_UPLOAD:
                if not dry_run:
                    found.remove()
                yield _told(found.item, dry_run)


def _multiparts(backend: str, storage: Storage, before: datetime) -> Iterator[_Found]:
    if isinstance(storage, Multipart):
        for key, upload, begun in storage.stale_multiparts(before):
            item = Item(Kind.MULTIPART, key, backend, since=begun)
            yield _Found(item, partial(storage.abort, key, upload))


def _staging(backend: str, storage: Storage, before: datetime) -> Iterator[_Found]:
    for info in storage.scan(STAGING):
        if info.modified < before and info.modified.year > 1970:
            item = Item(Kind.STAGING, info.key, backend, info.size, info.modified)
            yield _Found(item, partial(storage.delete, info.key))


def _unfinished(backend: str, storage: Storage, before: datetime) -> Iterator[_Found]:
    if isinstance(storage, Sweepable) and isinstance(storage, Resumable):
        for left in storage.stale_unfinished(before):
            item = Item(Kind.UNFINISHED, left.name, backend, left.size, left.modified)
            yield _Found(item, partial(_discard, storage, left.name))


def _discard(storage: Resumable, key: str) -> None:
    """Discard by key alone: the state is lost with the row, and the first one will do."""
    storage.discard(key, storage.start(key, content_type=_UNKNOWN_TYPE, largest=0))


def scratch(folder: Path, before: datetime, *, dry_run: bool) -> Iterator[Item]:
    """Yield, and remove, old plain files in the folder for bytes on their way.

    Such files have no name while they are used, so a killed process leaves one only where the
    system cannot make them so. Folders in it are somebody else's.
    """
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            found = _old_and_free(Path(entry.path), before, remove=not dry_run)
            if found is not None:
                since = datetime.fromtimestamp(found.st_mtime, UTC)
                yield _told(Item(Kind.SCRATCH, entry.name, None, found.st_size, since), dry_run)


def _old_and_free(path: Path, before: datetime, *, remove: bool) -> os.stat_result | None:
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or not 1 <= found.st_mtime < before.timestamp():
            return None
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if remove:
                path.unlink()
        finally:
            os.close(fd)
    except OSError:
        # Held, or gone meanwhile, or not ours to remove.
        return None
    return found


def _told(item: Item, dry_run: bool) -> Item:
    if not dry_run:
        said = {"kind": str(item.kind), "key": item.name, "backend": item.backend}
        log.warning("something that was left was removed", extra=said)
    return item
