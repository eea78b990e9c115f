"""Does one task of a mirrored backend: brings an object to one of its members, or removes it there.

A copy is taken from the first other storage that has the right bytes, and read back before it
counts (`services.migration_moving`). An object is removed only when no file of any backend has its
key: a member may be a backend of its own, and files may have moved there.

It must not know any concrete storage, nor what is queued.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from models import File
from services.database import Database
from services.fsck_names import Named, names_of
from services.fsck_reading import answers
from services.migration_figures import Stopped, Tally
from services.migration_moving import Copied, Mover
from services.migration_rows import Row, Rows
from services.mirroring import COPY, Pair, Task
from storage.base import Storage
from storage.capabilities import Mirrored
from storage.errors import StorageError

_ROW: Final = (File.key, File.id, File.size, File.sha256, File.content_type)

log = logging.getLogger("holdall.mirroring")


@dataclass(frozen=True, slots=True)
class Done:
    """The task is done, or there is nothing to do any more."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The task cannot be done with this object now, while others may go well."""

    reason: str


@dataclass(frozen=True, slots=True)
class Down:
    """No task of this member can be done now."""

    reason: str


Outcome = Done | Failed | Down


class Copier:
    """Do tasks of one member, in any number of threads."""

    def __init__(self, database: Database, mirrored: Mirrored, pair: Pair) -> None:
        self._database = database
        self._pair = pair
        self._target = mirrored.members[pair.member]
        rows, tally = Rows(database, pair.backend, pair.member), Tally()
        self._sources: dict[str, tuple[Storage, Mover]] = {
            name: (storage, Mover(storage, self._target, rows, tally))
            for name, storage in mirrored.members.items()
            if name != pair.member
        }

    def stop(self) -> None:
        """End every copy at its next piece."""
        for _, mover in self._sources.values():
            mover.stop()

    def do(self, task: Task) -> Outcome:
        """Do a task. Raises Interrupted after `stop`."""
        if not answers(self._target):
            return Down(f"{self._pair.member} does not answer")
        return self._copy(task.key) if task.action == COPY else self._delete(task.key)

    def _copy(self, key: str) -> Outcome:
        row = self._row(key)
        if row is None:
            return Done()
        reasons, down = [], False
        for name, (source, mover) in self._sources.items():
            if not answers(source):
                down = True
                reasons.append(f"{name} does not answer")
                continue
            try:
                outcome = mover.look_and_move(row)
            except Stopped as error:
                down = True
                reasons.append(f"from {name}: {error}")
                continue
            if isinstance(outcome, Copied) or outcome.reason is None:
                return Done()
            if outcome.wrong_copy:
                self._discard(key)
            reasons.append(f"from {name}: {outcome.reason}")
        return (Down if down else Failed)("; ".join(reasons))

    def _row(self, key: str) -> Row | None:
        query = select(*_ROW).where(
            File.backend == self._pair.backend, File.key == key, File.state == "ready"
        )
        with self._database.read() as session:
            row = session.execute(query).first()
        return None if row is None else Row(*row)

    def _discard(self, key: str) -> None:
        """Remove a copy with other bytes than the file's, which some reader might be given."""
        with suppress(StorageError):
            self._target.delete(key)

    def _delete(self, key: str) -> Outcome:
        # Its upload may name it for a while longer: that has become the file that was deleted.
        with self._database.read() as session:
            is_kept = names_of(session, [key]).get(key) is Named.BY_FILE
        if is_kept:
            log.info("a file of another backend has the object", extra={"key": key})
            return Done()
        try:
            self._target.delete(key)
        except StorageError as error:
            return (Failed if answers(self._target) else Down)(str(error))
        return Done()
