"""Moves files from one backend to another while the service goes on: `flask migrate-storage`.

    rows on the source ──▸ copy ──▸ read the copy back ──▸ switch rows ──▸ (delete originals)
                           └─ workers, side by side ─┘     └ many in one transaction

A file is readable all the time: its row names the source until the copy was read whole, and the
target from then on. A crash at any point leaves rows that are right and copies that the next run
finds, since a copy has the key of its original. The rows are walked in the order of their keys, and
memory is bounded by the workers.

It must not know any concrete storage, nor who asked.
"""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError

from services.database import Database
from services.fsck_reading import answers
from services.fsck_second_look import taking_notes
from services.migration_figures import CannotBegin, Failure, Options, Stop, Stopped, Tally
from services.migration_leftovers import Leftovers, linger_for
from services.migration_moving import Mover
from services.migration_rows import Rows
from services.migration_run import Run
from services.migration_turn import Turn
from services.mirroring import Mirrors
from services.mirroring_members import members_of
from storage.base import Storage
from storage.errors import ObjectNotFound, StorageError
from storage.keys import new_key


class Migration:
    """Move the files of one backend to another.

    `on_progress` is called often by the thread that runs it, `on_wait` with a sentence when it is
    going to wait for something. Any thread or signal handler may set `stop` to end it soon.
    """

    def __init__(
        self,
        database: Database,
        storages: Mapping[str, Storage],
        options: Options,
        on_progress: Callable[[], None] = lambda: None,
        on_wait: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.rows = Rows(
            database, options.source, options.target, options.collection, Mirrors(storages)
        )
        self.tally = Tally()
        self.stop = Stop()
        self._database = database
        self._storages = storages
        self._options = options
        self._on_progress = on_progress
        self._on_wait = on_wait

    def estimate(self) -> Tally:
        """Count what would be moved, and change nothing. Raises CannotBegin."""
        source, target = self._both()
        for name, storage in ((self._options.source, source), (self._options.target, target)):
            if not answers(storage):
                raise CannotBegin(f"{name} does not answer")
        self._count()
        return self.tally

    def run(self) -> Generator[Failure]:
        """Move the files, and yield those that could not be; what was counted is in `tally`.

        Leave it with `close` to end early. Raises CannotBegin before anything is moved,
        Stopped when a store answers no more or is full, or another migration took over, and
        Interrupted.
        """
        source, target = self._both()
        turn = Turn(
            self._database,
            self._options.source,
            self._options.target,
            on_wait=lambda: self._on_wait("to see whether another migration is alive"),
            stop=self.stop,
        )
        with turn:
            self._require_two_places(source, target)
            self._count()
            try:
                yield from self._run(source, target, turn)
            except StorageError as error:
                raise Stopped(str(error)) from error
            finally:
                with suppress(SQLAlchemyError):
                    self.tally.left, _ = self.rows.count(self._options.source)
                    self.tally.uploads = self.rows.count_uploads()

    def _run(self, source: Storage, target: Storage, turn: Turn) -> Generator[Failure]:
        mover = Mover(source, target, self.rows, self.tally)
        with taking_notes() as moved:
            run = Run(
                self._database,
                self.rows,
                target,
                mover,
                turn,
                self.stop,
                self._options,
                self.tally,
                moved,
                self._on_progress,
                may_discard=not self._share_a_member(),
            )
            yield from run.move_all()
            if not self._options.delete_source:
                return
            leftovers = Leftovers(
                self._database,
                self.rows,
                turn,
                self.stop,
                source,
                target,
                self._options,
                self.tally,
                self._lingering(source),
                self._on_progress,
            )
            yield from leftovers.delete(moved)

    def _lingering(self, source: Storage) -> Callable[[], None]:
        """Return what waits, once, until no reader needs the originals any more."""
        given = self._options.linger
        seconds = linger_for(source, self.rows) if given is None else given
        until = time.monotonic() + seconds

        def wait() -> None:
            left = until - time.monotonic()
            if left > 0:
                self._on_wait(f"{left:,.0f} s, before objects are deleted that were just moved")
                self.stop.pause(left)

        return wait

    def _both(self) -> tuple[Storage, Storage]:
        """Return source and target. Raises CannotBegin."""
        options = self._options
        for name in (options.source, options.target):
            if name not in self._storages:
                known = ", ".join(sorted(self._storages))
                raise CannotBegin(f"no backend is called {name}: there are {known}")
        if options.source == options.target:
            raise CannotBegin("a backend cannot be moved to itself")
        if not self.rows.has_collection():
            raise CannotBegin(f"no collection is called {options.collection}")
        # Whoever is mirrored has a file when its primary has it.
        target = members_of(options.target, self._storages)[0]
        return self._storages[options.source], self._storages[target]

    def _require_two_places(self, source: Storage, target: Storage) -> None:
        """Have the target prove itself, and make sure that the source is another place.

        Two names can be one folder or bucket: there, deleting the original deletes the copy. Of a
        backend and one that is put together of it that is known, and nothing may be deleted.
        """
        if self._share_a_member():
            if self._options.delete_source:
                raise CannotBegin(
                    "one backend is put together of the other, or both of the same: without "
                    "--delete-source, files can be moved between them"
                )
            return
        key = new_key()
        try:
            target.check()
            with target.create(key) as writer:
                writer.write(b"Is this one place under two names?")
                writer.commit()
            try:
                with suppress(ObjectNotFound):
                    source.stat(key)
                    raise CannotBegin("both backends are one place")
            finally:
                target.delete(key)
        except StorageError as error:
            raise CannotBegin(str(error)) from error

    def _share_a_member(self) -> bool:
        both = (self._options.source, self._options.target)
        source, target = ({*members_of(name, self._storages)} for name in both)
        return not source.isdisjoint(target)

    def _count(self) -> None:
        self.tally.files, self.tally.files_size = self.rows.count(self._options.source)
        self.tally.uploads = self.rows.count_uploads()
        self.tally.left = self.tally.files
