"""The trash: files that nobody finds any more, and that can be had back until it is emptied.

A file in the trash keeps its row and its object. It is in no list but that of the trash, no link
leads to it, and it counts toward quotas as before, since its bytes are still there.
`services.expiry` empties the trash.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import false, func, update
from sqlalchemy.sql.elements import ColumnElement

from models import File, now
from services.caller import Caller
from services.counters import count
from services.database import Database
from services.files import belongs_to, is_live, is_trashed
from storage.keys import is_random_name

log = logging.getLogger("holdall.files")


class Trash:
    """Put files into the trash, and take them out again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, caller: Caller, file_ids: Sequence[str]) -> set[str]:
        """Put those files into the trash that the caller may delete, and return their ids.

        One that is there already is left out. Raises NotSignedIn and NotPermitted.
        """
        return self._move(caller, file_ids, is_live(), now())

    def restore(self, caller: Caller, file_ids: Sequence[str]) -> set[str]:
        """Take those files out of it that the caller may delete, and return their ids.

        One that has expired meanwhile is left out. Raises NotSignedIn and NotPermitted.
        """
        return self._move(caller, file_ids, is_trashed(), None)

    def _move(
        self,
        caller: Caller,
        file_ids: Sequence[str],
        there: ColumnElement[bool],
        deleted_at: datetime | None,
    ) -> set[str]:
        caller.require("delete")
        these = File.id.in_([each for each in file_ids if is_random_name(each)])
        moved = (
            update(File)
            # Put such that SQLite does not go through all that is in the trash.
            .where(these, func.coalesce(there, false()), belongs_to(caller))
            .values(deleted_at=deleted_at)
            .returning(File.id, File.collection, File.owner, File.size)
        )
        with self._database.write() as session:
            rows = session.execute(moved).all()
            changes = [(row.collection, row.owner, row.size) for row in rows]
            count(session, trashed=changes, sign=-1 if deleted_at is None else 1)
        told = "file restored" if deleted_at is None else "file trashed"
        for row in rows:
            log.info(told, extra={"file": row.id, "size": row.size})
        return {row.id for row in rows}
