"""Many files as one download: which they are, and their bytes one after another.

An Archive is read as a stored object is, by ranges, so that `services.delivery` plans its answer
as it plans that of any file. Nothing is kept of it: a range is made by making the archive from
its beginning, since the checksums at its end need every byte.

Small files are fetched ahead of their turn, several at once, so that a store far away is not
waited for once a file. No HTTP here.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import BinaryIO, Final, Self

from sqlalchemy import select

from models import File
from services.caller import Caller
from services.database import Database
from services.errors import FileNotFound, InvalidField
from services.files import Files, belongs_to, is_live
from services.listing import Listing, Query
from services.loop import EventLoop
from services.stored import StoredFile
from services.zipping import Entry, distinct, zipped, zipped_size
from storage.aio import AsyncStorage
from storage.base import Body, ObjectInfo, Storage
from storage.errors import IntegrityError, ObjectNotFound
from storage.keys import is_random_name

MOST_FILES: Final = 10_000
"""Files in one archive: a program that unpacks it, and we, keep a line for each in memory."""

_FETCHED_WHOLE: Final = 1024**2
"""Bytes up to which a file is fetched ahead, whole."""

_AHEAD: Final = 4

_COLUMNS: Final = (File.id, File.filename, File.size, File.etag, File.created_at)
_PLACE: Final = (File.backend, File.key)


@dataclass(frozen=True, slots=True)
class Member:
    """A file that goes into an archive, and where its bytes lie."""

    id: str
    filename: str
    size: int
    etag: str
    created_at: datetime
    backend: str
    key: str


@dataclass(frozen=True, slots=True)
class Sources:
    """Where bytes come from: the storages, and the same with an asynchronous face."""

    files: Files
    storages: Mapping[str, Storage]
    ahead: Mapping[str, AsyncStorage]
    loop: EventLoop


class Archives:
    """Choose the files of an archive, among those that the caller may list."""

    def __init__(self, database: Database, listing: Listing, sources: Sources) -> None:
        self._database = database
        self._listing = listing
        self._sources = sources

    def of_ids(self, caller: Caller, file_ids: Sequence[str]) -> "Archive":
        """Return the archive of these files, in this order. Raises NotSignedIn and FileNotFound."""
        caller.require("read")
        wanted = list(dict.fromkeys(file_ids))
        if not wanted or not all(is_random_name(each) for each in wanted):
            raise FileNotFound
        _require_few(len(wanted))
        query = select(*_COLUMNS, *_PLACE).where(File.id.in_(wanted), is_live(), belongs_to(caller))
        with self._database.read() as session:
            found = {row.id: Member(*row) for row in session.execute(query)}
        if len(found) < len(wanted):
            raise FileNotFound
        return Archive([found[each] for each in wanted], self._sources)

    def of_query(self, caller: Caller, query: Query) -> "Archive":
        """Return the archive of all that a list would show, the oldest first.

        Raises NotSignedIn, InvalidField for more than MOST_FILES, and FileNotFound for none.
        """
        caller.require("read")
        matching = self._listing.matching(caller, query)
        rows = select(*_COLUMNS, *_PLACE).where(*matching).order_by(File.number)
        with self._database.read() as session:
            members = [Member(*row) for row in session.execute(rows.limit(MOST_FILES + 1))]
        _require_few(len(members))
        if not members:
            raise FileNotFound
        return Archive(members, self._sources)


def _require_few(count: int) -> None:
    if count > MOST_FILES:
        raise InvalidField(f"An archive holds {MOST_FILES:,} files at the most: ask for fewer")


class Archive:
    """A zip of `members` that is made while it is read. `size` is in bytes."""

    def __init__(self, members: Sequence[Member], sources: Sources) -> None:
        names = distinct(member.filename for member in members)
        self._members = members
        self._entries = [
            Entry(name, member.size, member.created_at)
            for name, member in zip(names, members, strict=True)
        ]
        self._sources = sources
        self.size = zipped_size(self._entries)
        self.modified = max(member.created_at for member in members)
        self.etag = _tag(self._entries, members)

    def open(self, key: str, start: int = 0, stop: int | None = None) -> "ArchiveBody":
        """Open bytes `start` to `stop` of it, as `Storage.open` does; `key` names nothing.

        The first file is opened now. Raises ObjectNotFound and StorageUnavailable.
        """
        reader = _Reader(self._members, self._sources)
        stop = self.size if stop is None else min(stop, self.size)
        info = ObjectInfo(key, self.size, self.etag, self.modified)
        return ArchiveBody(info, zip(self._entries, reader, strict=True), reader, start, stop)


def _tag(entries: Sequence[Entry], members: Sequence[Member]) -> str:
    """Return a strong tag: of all that decides a byte of the archive."""
    hashed = hashlib.sha256(b"zip 1")
    for entry, member in zip(entries, members, strict=True):
        line = f"\n{member.id}/{member.etag}/{entry.size}/{entry.modified.isoformat()}/{entry.name}"
        hashed.update(line.encode())
    return hashed.hexdigest()


class ArchiveBody:
    """A range of an archive; a `storage.base.Body`."""

    def __init__(
        self,
        info: ObjectInfo,
        members: Iterator[tuple[Entry, Iterable[bytes]]],
        reader: "_Reader",
        start: int,
        stop: int,
    ) -> None:
        self.info = info
        self.size = max(stop - start, 0)
        self._bytes = zipped(members)
        self._reader = reader
        self._start = start

    @property
    def file(self) -> BinaryIO | None:
        """There is none."""
        return None

    def __iter__(self) -> Iterator[bytes]:
        skip, left = self._start, self.size
        for piece in self._bytes:
            if skip >= len(piece):
                skip -= len(piece)
                continue
            wanted = memoryview(piece)[skip : skip + left]
            skip, left = 0, left - len(wanted)
            yield bytes(wanted)
            if not left:
                return
        raise IntegrityError("The archive became shorter while it was sent")

    def close(self) -> None:
        """Close the file that is open, and let go of what was fetched ahead."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.close()


class _Reader:
    """The bytes of each member in turn: small ones fetched ahead and whole, large ones streamed."""

    def __init__(self, members: Sequence[Member], sources: Sources) -> None:
        self._waiting = iter(members)
        self._sources = sources
        self._coming: deque[tuple[Member, Future[bytes] | None]] = deque()
        self._body: Body | None = None
        self._first = self._begin()

    def __iter__(self) -> Iterator[Iterable[bytes]]:
        yield self._first
        del self._first
        while self._coming:
            yield self._begin()

    def close(self) -> None:
        """Close the file that is open, and wait for none that is being fetched."""
        for _, fetched in self._coming:
            if fetched is not None:
                fetched.cancel()
        self._coming.clear()
        self._let_go()

    def _begin(self) -> Iterable[bytes]:
        self._let_go()
        self._fetch_ahead()
        member, fetched = self._coming.popleft()
        self._fetch_ahead()
        try:
            if fetched is not None:
                return (fetched.result(),)
            self._body = self._open(member)
            return self._body
        except BaseException:
            self.close()
            raise

    def _let_go(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def _fetch_ahead(self) -> None:
        for member in islice(self._waiting, _AHEAD - len(self._coming)):
            is_small = member.size <= _FETCHED_WHOLE
            fetched = self._sources.loop.start(self._fetched(member)) if is_small else None
            self._coming.append((member, fetched))

    def _open(self, member: Member) -> Body:
        try:
            body = self._sources.storages[member.backend].open(member.key)
        except ObjectNotFound:
            moved = self._moved(member)
            body = self._sources.storages[moved.backend].open(moved.key)
        _require_size(body.info, member, body.close)
        return body

    async def _fetched(self, member: Member) -> bytes:
        try:
            opened = await self._sources.ahead[member.backend].open(member.key)
        except ObjectNotFound:
            moved = await asyncio.to_thread(self._moved, member)
            opened = await self._sources.ahead[moved.backend].open(moved.key)
        async with opened as body:
            _require_size(body.info, member)
            return b"".join([piece async for piece in body])

    def _moved(self, member: Member) -> StoredFile:
        """Return where the file lies by now. Raises ObjectNotFound when it lies nowhere."""
        file = self._sources.files.for_delivery(member.id)
        if file is None or (file.backend, file.key) == (member.backend, member.key):
            raise ObjectNotFound(member.key)
        return file


def _require_size(
    info: ObjectInfo, member: Member, leave: Callable[[], None] = lambda: None
) -> None:
    """Raise IntegrityError, after `leave`, where the object and its row disagree."""
    if info.size != member.size:
        leave()
        raise IntegrityError(f"The object has {info.size} bytes, not the {member.size} of its row")
