"""What is queued for the mirrors of a backend: which object is to be copied, or deleted, where.

    publish, switch ──▸ queue a copy for each mirror ┐ in the very transaction, so that a crash
    delete, expire  ──▸ queue a delete for each      ┘ leaves both or neither
    fsck            ──▸ queue a copy for what one member lacks

A task is known by its object and the member that it is for: what is queued last is what counts.
`services.mirroring_work` does the tasks. It must not know any concrete storage.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Insert, bindparam, delete, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models import Base, File, MirrorTask, now
from services.database import Database, Writing, dialect_of
from storage.base import Storage
from storage.capabilities import Mirrored

COPY: Final = "copy"
DELETE: Final = "delete"

_COLUMNS: Final = ("backend", "member", "key", "action", "attempts", "created_at", "due_at")


class Pair(NamedTuple):
    """A mirrored backend, and one of the storages that it is put together of."""

    backend: str
    member: str


class Task(NamedTuple):
    """What is to be done with the object `key`: COPY it to the member, or DELETE it there."""

    pair: Pair
    key: str
    action: str


class Waiting(NamedTuple):
    """How many tasks a member waits for, and since when the first of them, None for none."""

    pair: Pair
    number: int
    oldest: datetime | None


class Mirrors:
    """Which backends are mirrored, and how their mirrors are told. Without any it does nothing."""

    def __init__(self, storages: Mapping[str, Storage]) -> None:
        self.mirrored: dict[str, Mirrored] = {
            name: storage for name, storage in storages.items() if isinstance(storage, Mirrored)
        }

    def pairs(self) -> list[Pair]:
        """Return every member of every mirrored backend; primaries may need mending too."""
        return [Pair(name, each) for name, found in self.mirrored.items() for each in found.members]

    def to_copy(self, session: Writing, objects: Iterable[tuple[str, str]]) -> None:
        """Queue copies of new objects, each given as backend and key."""
        self._queue(session, objects, COPY)

    def to_delete(self, session: Session, objects: Iterable[tuple[str, str]]) -> None:
        """Queue deletes, in the place of copies that are still queued."""
        self._queue(session, objects, DELETE)

    def _queue(self, session: Writing, objects: Iterable[tuple[str, str]], action: str) -> None:
        tasks = [
            Task(Pair(backend, member), key, action)
            for backend, key in objects
            if backend in self.mirrored
            for member in self.mirrored[backend].members
            if member != self.mirrored[backend].primary
        ]
        put(session, tasks)


def put(session: Writing, tasks: Iterable[Task]) -> None:
    """Queue tasks, each in the place of an earlier one for its object and member.

    In a fixed order, so that two transactions never wait for each other.
    """
    moment = now()
    rows = [
        {"backend": task.pair.backend, "member": task.pair.member, "key": task.key}
        | {"action": task.action, "attempts": 0, "created_at": moment, "due_at": moment}
        for task in sorted(tasks)
    ]
    if rows:
        session.execute(_upsert(dialect_of(session)), rows)


@cache
def _upsert(dialect: str) -> Insert:
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    new = insert(Base.metadata.tables[MirrorTask.__tablename__])
    given: dict[str, Any] = {name: bindparam(name) for name in _COLUMNS}
    return new.values(**given).on_conflict_do_update(
        index_elements=["backend", "member", "key"],
        set_={name: new.excluded[name] for name in ("action", "attempts", "due_at")},
    )


def queued(
    session: Session, backends: Collection[str], member: str, keys: Collection[str]
) -> set[str]:
    """Return those of `keys` whose object on `member` one of `backends` is to do something with."""
    these = (MirrorTask.backend.in_(backends), MirrorTask.member == member)
    return set(session.scalars(select(MirrorTask.key).where(*these, MirrorTask.key.in_(keys))))


class Queue:
    """The tasks as their worker sees them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, pair: Pair, limit: int) -> list[Task]:
        """Return the tasks of a member whose time has come, those that wait longest first."""
        query = (
            select(MirrorTask.key, MirrorTask.action)
            .where(*_of(pair), MirrorTask.due_at <= now())
            .order_by(MirrorTask.due_at)
            .limit(limit)
        )
        with self._database.read() as session:
            return [Task(pair, row.key, row.action) for row in session.execute(query)]

    def waiting(self, pair: Pair) -> Waiting:
        """Count what a member waits for."""
        query = select(func.count(), func.min(MirrorTask.created_at)).where(*_of(pair))
        with self._database.read() as session:
            number, oldest = session.execute(query).one()
        return Waiting(pair, number, oldest)

    def done(self, tasks: Sequence[Task]) -> None:
        """Take tasks off the queue, unless something else is to be done by now.

        Of a file that was deleted while it was copied the copy is to be deleted, also where the
        delete was done by somebody else before the copy was there.
        """
        copies = [task for task in tasks if task.action == COPY]
        with self._database.write() as session:
            there = _ready(session, copies)
            gone = [task for task in copies if (task.pair.backend, task.key) not in there]
            put(session, [task._replace(action=DELETE) for task in gone])
            for task in sorted({*tasks} - {*gone}):
                mine = (*_of(task.pair), MirrorTask.key == task.key)
                session.execute(delete(MirrorTask).where(*mine, MirrorTask.action == task.action))

    def put_off(self, task: Task, *, first: timedelta, most: timedelta) -> timedelta:
        """Try a task again later: after `first`, and twice as long each time, `most` at the most.

        Returns after how long.
        """
        mine = (*_of(task.pair), MirrorTask.key == task.key, MirrorTask.action == task.action)
        with self._database.write() as session:
            attempts = session.scalar(select(MirrorTask.attempts).where(*mine)) or 0
            pause: timedelta = min(first * 2 ** min(attempts, 20), most)
            later = {"attempts": attempts + 1, "due_at": now() + pause}
            session.execute(update(MirrorTask).where(*mine).values(later))
        return pause


def _of(pair: Pair) -> tuple[Any, ...]:
    return MirrorTask.backend == pair.backend, MirrorTask.member == pair.member


def _ready(session: Session, tasks: Sequence[Task]) -> set[tuple[str, str]]:
    """Return backend and key of the files that are ready, of those that `tasks` copy."""
    if not tasks:
        return set()
    wanted = {(task.pair.backend, task.key) for task in tasks}
    found = select(File.backend, File.key).where(tuple_(File.backend, File.key).in_(wanted))
    return {(row.backend, row.key) for row in session.execute(found.where(File.state == "ready"))}
