"""Files that exist: look one up, change what people see of it, delete some.

A caller that may not know of a file gets FileNotFound, as if there were none.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Delete,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from models import Collection, File, now
from services.caller import Caller
from services.counters import count
from services.database import Database
from services.errors import FileNotFound
from services.filenames import clean_filename, folded
from services.metadata import merged
from services.mimetype import family
from services.mirroring import Mirrors
from services.renaming import Named, Renaming
from services.stored import StoredFile
from services.thumbnails import delete_thumbnails
from services.thumbnails_wanted import TYPES
from storage.base import Storage
from storage.errors import ObjectNotFound, StorageError
from storage.keys import is_random_name

log = logging.getLogger("holdall.files")

_DELETED_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file as the API shows it. `size` is in bytes, times are aware UTC."""

    id: str
    filename: str
    size: int
    content_type: str
    declared_type: str | None
    sha256: str | None
    collection: str
    visibility: str
    owner: str | None
    metadata: dict[str, Any]
    media: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Removed:
    """A file whose row is gone and whose object is still to be deleted."""

    id: str
    backend: str
    key: str
    content_type: str | None = None
    """The type where it is known: most have no thumbnails."""


SHOWN = (
    File.id,
    File.filename,
    File.size,
    File.content_type,
    File.declared_type,
    File.sha256,
    File.collection,
    File.visibility,
    File.owner,
    File.annotations,
    File.media,
    File.created_at,
    File.updated_at,
    File.expires_at,
    File.deleted_at,
)
"""The columns of a FileInfo, in its order."""


NAMED: Final = (
    File.filename,
    File.content_type,
    File.declared_type,
    File.size,
    File.collection,
    File.backend,
    File.key,
)
"""The columns of a Named, in its order."""


COUNTED: Final = (
    *(File.id, File.backend, File.key),
    *(File.collection, File.owner, File.size, File.deleted_at, File.content_type),
)
"""What whoever deletes a row has to know of it, for the object and for the counters."""


def count_removed(session: Session, rows: Sequence[Row[*tuple[Any, ...]]]) -> None:
    """Take files away from the counters whose rows are gone; `rows` have the columns of COUNTED."""
    changes = [(row.collection, row.owner, row.size) for row in rows]
    trashed = [each for each, row in zip(changes, rows, strict=True) if row.deleted_at is not None]
    count(session, changes, sign=-1, trashed=trashed)


READY: Final[ColumnElement[str]] = literal_column("'ready'")
"""The state of files that are there. Of a bound value, SQLite would plan a statement anew each time
to see whether a partial index goes with it, which takes five times as long as the look-up.
"""


def is_ready() -> ColumnElement[bool]:
    """Match files that are ready and have not expired, in the trash or not."""
    return and_(File.state == READY, _is_not_over())


def is_live() -> ColumnElement[bool]:
    """Match files that are there for their readers: ready, not in the trash, not expired."""
    return and_(is_ready(), File.deleted_at.is_(None))


def is_trashed() -> ColumnElement[bool]:
    """Match files that are in the trash and can be had back."""
    return and_(is_ready(), File.deleted_at.is_not(None))


def _is_not_over() -> ColumnElement[bool]:
    return or_(File.expires_at.is_(None), File.expires_at > bindparam("moment", callable_=now))


def belongs_to(caller: Caller) -> ColumnElement[bool]:
    """Match files that `caller` may list, change or delete; see `Caller.owns`."""
    mine = true() if caller.is_admin else File.owner == caller.owner
    return mine if caller.collection is None else mine & (File.collection == caller.collection)


DELIVERED: Select[*tuple[Any, ...]] = (
    select(
        File.id,
        File.filename,
        File.content_type,
        File.size,
        File.etag,
        File.sha256,
        File.owner,
        File.visibility,
        File.backend,
        File.key,
        File.collection,
        File.created_at,
        Collection.cache_max_age,
        Collection.delivery,
        File.expires_at,
    )
    .join(Collection, Collection.name == File.collection)
    .where(File.id == bindparam("id"), File.state == READY, File.deleted_at.is_(None))
)
"""A StoredFile, in its order, by id; whether it is over is for `StoredFile.is_there` to say."""


def _require_id(file_id: str) -> None:
    """Raise FileNotFound for what is no id; a database may choke on it instead of finding none."""
    if not is_random_name(file_id):
        raise FileNotFound


class Files:
    """The use cases on files that exist."""

    def __init__(
        self,
        database: Database,
        storages: Mapping[str, Storage],
        renaming: Renaming,
        mirrors: Mirrors,
    ) -> None:
        self._database = database
        self._storages = storages
        self._renaming = renaming
        self._mirrors = mirrors
        self._deleting = ThreadPoolExecutor(_DELETED_AT_ONCE, thread_name_prefix="delete")

    def for_delivery(self, file_id: str) -> StoredFile | None:
        """Return what delivery needs of a file, whoever asks, or None when there is none."""
        if not is_random_name(file_id):
            return None
        with self._database.connect() as connection:
            row = connection.execute(DELIVERED, {"id": file_id}).first()
        if row is None:
            return None
        file = StoredFile(*row)
        return file if file.is_there() else None

    def get(self, caller: Caller, file_id: str) -> FileInfo:
        """Return one file. Raises NotSignedIn and FileNotFound."""
        caller.require("read")
        _require_id(file_id)
        query = select(*SHOWN).where(File.id == file_id, is_live(), belongs_to(caller))
        with self._database.read() as session:
            row = session.execute(query).first()
        if row is None:
            raise FileNotFound
        return FileInfo(*row)

    def describe(self, file_id: str) -> FileInfo:
        """Return one file to whoever has just made it. Raises FileNotFound."""
        with self._database.read() as session:
            row = session.execute(select(*SHOWN).where(File.id == file_id, is_live())).first()
        if row is None:
            raise FileNotFound
        return FileInfo(*row)

    def change(
        self,
        caller: Caller,
        file_id: str,
        *,
        filename: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> FileInfo:
        """Rename a file, merge `metadata` into what it has (RFC 7396), and return it.

        Raises NotSignedIn, FileNotFound, InvalidField, and what a new name may be refused with.
        """
        caller.require("write")
        _require_id(file_id)
        visible = (File.id == file_id, is_live(), belongs_to(caller))
        named = {} if filename is None else self._under(visible, clean_filename(filename))
        with self._database.write() as session:
            kept = session.execute(select(File.annotations).where(*visible).with_for_update())
            row = kept.first()
            if row is None:
                raise FileNotFound
            changes: dict[str, Any] = {"updated_at": now(), **named}
            if metadata is not None:
                changes["annotations"] = merged(row[0], metadata)
            session.execute(update(File).where(File.id == file_id).values(changes))
            changed = session.execute(select(*SHOWN).where(File.id == file_id)).one()
        log.info("file changed", extra={"file": file_id, "renamed": filename is not None})
        return FileInfo(*changed)

    def _under(self, visible: Sequence[ColumnElement[bool]], name: str) -> dict[str, Any]:
        """Return what a file is to have in its row under a new name. Raises TypeNotAllowed."""
        try:
            content_type = self._renaming.type_under(self._named(visible), name)
        except ObjectNotFound:
            # It may have moved to another backend since it was found.
            content_type = self._renaming.type_under(self._named(visible), name)
        return {
            "filename": name,
            "folded": folded(name),
            "content_type": content_type,
            "family": family(content_type),
        }

    def _named(self, visible: Sequence[ColumnElement[bool]]) -> Named:
        with self._database.read() as session:
            row = session.execute(select(*NAMED).where(*visible)).first()
        if row is None:
            raise FileNotFound
        return Named(*row)

    def delete(self, caller: Caller, file_id: str) -> None:
        """Delete one file, its row first and then its object; from the trash too.

        Raises FileNotFound.
        """
        removed = self.remove_rows(caller, [file_id])
        if not removed:
            raise FileNotFound
        for each in removed:
            self.remove_object(each)

    def remove_rows(self, caller: Caller, file_ids: Sequence[str]) -> list[Removed]:
        """Delete the rows of those files that the caller may delete, in one transaction.

        From then on nobody finds them; the objects returned are for `remove_objects`.
        """
        caller.require("delete")
        statement: Delete = delete(File).where(
            File.id.in_(filter(is_random_name, file_ids)), File.state == READY, belongs_to(caller)
        )
        with self._database.write() as session:
            rows = session.execute(statement.returning(*COUNTED)).all()
            count_removed(session, rows)
            self._mirrors.to_delete(session, ((row.backend, row.key) for row in rows))
        for row in rows:
            log.info("file deleted", extra={"file": row.id, "size": row.size})
        return [Removed(row.id, row.backend, row.key, row.content_type) for row in rows]

    def remove_object(self, removed: Removed) -> bool:
        """Delete an object whose row is gone, and its thumbnails; what the store cannot is left as
        orphans.

        Returns whether it was deleted.
        """
        try:
            storage = self._storages[removed.backend]
            storage.delete(removed.key)
            if removed.content_type is None or removed.content_type in TYPES:
                delete_thumbnails(storage, removed.key)
        except KeyError:
            self._leave(removed, "no storage has this name")
            return False
        except StorageError as error:
            self._leave(removed, str(error))
            return False
        return True

    async def remove_objects(self, removed: Sequence[Removed]) -> None:
        """Delete objects side by side, in threads that nothing else waits for.

        A store that failed once is not asked again: it may take seconds to fail.
        """
        failed: set[str] = set()
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(loop.run_in_executor(self._deleting, self._remove, each, failed) for each in removed)
        )

    def remove_in_turn(self, removed: Sequence[Removed]) -> set[str]:
        """Delete objects one by one, and return which backends failed; see `remove_objects`."""
        failed: set[str] = set()
        for each in removed:
            self._remove(each, failed)
        return failed

    def _remove(self, each: Removed, failed: set[str]) -> None:
        if each.backend in failed:
            self._leave(each, "the storage failed just before")
        elif not self.remove_object(each):
            failed.add(each.backend)

    def _leave(self, removed: Removed, reason: str) -> None:
        log.warning(
            "an object without a row was left",
            extra={"key": removed.key, "backend": removed.backend, "reason": reason},
        )
