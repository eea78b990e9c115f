"""A copy of all that a service on SQLite holds, made while it works: what `flask backup` does.

    copy the database ▸ copy the objects that its rows name ▸ put it in place ▸ drop other objects

The database comes first, so every object that it names was there. One that is gone when its turn
comes was deleted or moved meanwhile: its row is dropped from the copy, or follows it. So what the
copy says is what it has. An earlier copy in the same place stays whole until it is replaced, and
objects that it has are not copied again: they never change.

It must not know any concrete storage, nor how folders are laid out.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, NullPool, create_engine, delete, select, update

from models import Failure, File, Lease, MirrorTask, Reservation, Upload
from services.database import Database, engine_options, prepare_engine
from services.files import COUNTED, count_removed
from services.fsck_names import backends_named
from services.walking import READY, Row, Rows, side_by_side
from storage.base import ObjectInfo, Storage
from storage.errors import IntegrityError, ObjectNotFound

WORKERS: Final = 8
_AT_ONCE: Final = 200


@dataclass(slots=True)
class Saved:
    """What a backup holds, and what making it took. Sizes are in bytes.

    `reused` had been copied before. `left_out` are files that were deleted meanwhile, and `removed`
    objects of an earlier backup that no file has any more. `problems` say, by the id of a file, why
    its bytes are not in the backup though its row is.
    """

    files: int = 0
    size: int = 0
    copied: int = 0
    reused: int = 0
    left_out: int = 0
    removed: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON takes them."""
        return asdict(self)


class Backup:
    """Copy `database` to the file `at`, and objects to the storages that `target_of` opens by the
    name of their backend. Backends in `without` are left out, and their rows stay.
    """

    def __init__(
        self,
        database: Database,
        storages: Mapping[str, Storage],
        at: Path,
        target_of: Callable[[str], Storage],
        *,
        without: frozenset[str] = frozenset(),
        on_progress: Callable[[Saved], None] = lambda saved: None,
    ) -> None:
        self._database = database
        self._storages = storages
        self._at = at
        self._target_of = target_of
        self._without = without
        self._on_progress = on_progress
        self._targets: dict[str, Storage] = {}

    def run(self) -> Saved:
        """Make the backup. Raises StorageError when a store does not answer or a disk is full."""
        saved = Saved()
        part = self._at.with_name(f"{self._at.name}.part")
        for leftover in part.parent.glob(f"{part.name}*"):
            leftover.unlink()
        _copy_database(self._database, part)
        try:
            with _opened(part) as copy:
                _forget_what_is_under_way(copy)
                for backend in self._backends(copy):
                    self._copy_objects(copy, backend, saved)
            _put_in_place(part, self._at)
            with _reading(self._at) as copy:
                for backend in self._backends(copy) | self._storages.keys() - self._without:
                    self._remove_others(copy, backend, saved)
        finally:
            for storage in self._targets.values():
                storage.close()
        return saved

    def _backends(self, copy: Database) -> set[str]:
        with copy.read() as session:
            return {*backends_named(session)} - self._without

    def _target(self, backend: str) -> Storage:
        if backend not in self._targets:
            self._targets[backend] = self._target_of(backend)
        return self._targets[backend]

    def _copy_objects(self, copy: Database, backend: str, saved: Saved) -> None:
        pairs = side_by_side(Rows(copy).of(backend), self._target(backend).scan())
        wanted = (pair for pair in pairs if pair[0] is not None and pair[0].state == READY)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="backup") as threads:
            while some := list(islice(wanted, _AT_ONCE)):
                outcomes = threads.map(lambda pair: self._saved(backend, *pair), some)
                for (row, _), outcome in zip(some, outcomes, strict=True):
                    assert row is not None
                    self._note(copy, row, backend, outcome, saved)
                self._on_progress(saved)

    def _saved(self, backend: str, row: Row | None, found: ObjectInfo | None) -> "_Outcome":
        """See to it that the target has the object of a row."""
        assert row is not None
        if found is not None and found.size == row.size:
            return _Outcome(backend, reused=True)
        try:
            return self._sent(backend, row)
        except ObjectNotFound:
            now_at = self._backend_of(row.id)
        if now_at is None or now_at in self._without:
            return _Outcome(now_at)
        try:
            return self._sent(now_at, row)
        except ObjectNotFound:
            gone = self._backend_of(row.id) is None
            return _Outcome(None) if gone else _Outcome(backend, "its object is missing")

    def _sent(self, backend: str, row: Row) -> "_Outcome":
        """Copy an object, whose bytes must be the row's. Raises ObjectNotFound."""
        if backend not in self._storages:
            return _Outcome(backend, f"no storage is called {backend}")
        digest, size = hashlib.sha256(), 0
        try:
            with (
                self._storages[backend].open(row.key) as body,
                self._target(backend).create(row.key) as writer,
            ):
                for piece in body:
                    digest.update(piece)
                    size += len(piece)
                    writer.write(piece)
                if size != row.size or row.sha256 not in (None, digest.hexdigest()):
                    return _Outcome(backend, "its object has other bytes than its row says")
                writer.commit()
        except IntegrityError as error:
            return _Outcome(backend, str(error))
        return _Outcome(backend)

    def _backend_of(self, file_id: str) -> str | None:
        """Return where a file is by now, None when it was deleted; its key is always the same."""
        with self._database.read() as session:
            return session.scalar(select(File.backend).where(File.id == file_id))

    def _note(
        self, copy: Database, row: Row, backend: str, outcome: "_Outcome", saved: Saved
    ) -> None:
        if outcome.backend is None:
            _drop(copy, row)
            saved.left_out += 1
            return
        if outcome.backend != backend:
            moved = update(File).where(File.id == row.id).values(backend=outcome.backend)
            with copy.write() as session:
                session.execute(moved)
        if outcome.problem is not None:
            saved.problems[row.id] = outcome.problem
        else:
            saved.reused += outcome.reused
            saved.copied += not outcome.reused

    def _remove_others(self, copy: Database, backend: str, saved: Saved) -> None:
        """Remove from the target what no row names; an earlier backup had it."""
        target, kept = self._target(backend), Rows(copy).count(backend)
        saved.files += kept.rows
        saved.size += kept.size
        for row, found in side_by_side(Rows(copy).of(backend), target.scan()):
            if found is not None and row is None:
                target.delete(found.key)
                saved.removed += 1


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Where a file is, None for nowhere; what keeps it out; whether it was there already."""

    backend: str | None
    problem: str | None = None
    reused: bool = False


def _copy_database(database: Database, path: Path) -> None:
    """Copy SQLite's database as it is at one moment; its writers need not wait."""
    source = database.engine.raw_connection()
    target = sqlite3.connect(path)
    try:
        driver: Any = source.driver_connection
        driver.backup(target)
    finally:
        target.close()
        source.close()


@contextmanager
def _opened(path: Path) -> Iterator[Database]:
    """Open a copy to change it; when the block ends, all is in the one file."""
    engine = create_engine(_url(path), **engine_options(_url(path)))
    prepare_engine(engine, durable=True)
    try:
        yield Database(engine)
        with engine.connect().execution_options(begins=False) as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
    finally:
        engine.dispose()


@contextmanager
def _reading(path: Path) -> Iterator[Database]:
    """Open a copy that stays as it is: no other file comes beside it."""
    engine = create_engine(_url(path), poolclass=NullPool)
    try:
        yield Database(engine)
    finally:
        engine.dispose()


def _url(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string()


def _forget_what_is_under_way(copy: Database) -> None:
    """Drop what belongs to requests and tasks of the service that was copied."""
    with copy.write() as session:
        for table in (Upload, Reservation, Lease, Failure, MirrorTask):
            session.execute(delete(table))
        session.execute(delete(File).where(File.state != READY))


def _drop(copy: Database, row: Row) -> None:
    gone = delete(File).where(File.id == row.id)
    with copy.write() as session:
        count_removed(session, session.execute(gone.returning(*COUNTED)).all())


def _put_in_place(part: Path, at: Path) -> None:
    """Let the new copy take the place of the earlier one, in one durable step."""
    _sync(part)
    part.replace(at)
    _sync(at.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
