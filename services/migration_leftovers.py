"""Deletes what a migration has left on the source: objects of files that are at the target.

It begins once readers that found a file at its old place have had time to read it. First come the
files that this run has moved, also those that were deleted since; then, in a walk over the source,
what earlier runs have left. The target is asked for each object before its original goes.

It must not know any concrete storage.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final

from services.database import Database
from services.fsck_second_look import Notes
from services.migration_figures import Failure, Options, Stop, Tally
from services.migration_rows import Rows
from services.migration_turn import Turn
from services.thumbnails import delete_thumbnails
from storage.base import Storage
from storage.capabilities import Presigner
from storage.errors import ObjectNotFound, StorageError

LINGER: Final = 30.0
"""Seconds after which whoever has looked a file up has opened it: nginx in front of us too."""
LINK_LIFE: Final = 3600.0
"""Seconds for which a reader may hold a link to the source itself (`services.delivery`)."""

_AT_ONCE: Final = 200


def linger_for(source: Storage, rows: Rows) -> float:
    """Return how many seconds an object of the source is needed after its file has moved."""
    given_out = isinstance(source, Presigner) and rows.is_redirected_to()
    return LINK_LIFE + LINGER if given_out else LINGER


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Delete objects of the source. `wait` returns when that may begin."""

    database: Database
    rows: Rows
    turn: Turn
    stop: Stop
    source: Storage
    target: Storage
    options: Options
    tally: Tally
    wait: Callable[[], None]
    on_progress: Callable[[], None]

    def delete(self, moved: Notes) -> Iterator[Failure]:
        """Delete the originals of the files `moved`, and of those that earlier runs have moved."""
        with ThreadPoolExecutor(self.options.workers, thread_name_prefix="migrate") as threads:
            while keys := moved.take(_AT_ONCE):
                yield from self._delete(keys, threads)
            objects = (info.key for info in self.source.scan())
            while found := list(islice(objects, _AT_ONCE)):
                if keys := self.rows.on_target(found):
                    yield from self._delete(keys, threads)
                self.stop.require_not()
                self.on_progress()

    def _delete(self, keys: Sequence[str], threads: ThreadPoolExecutor) -> Iterator[Failure]:
        self.wait()
        self.stop.require_not()
        with self.database.write() as session:
            self.turn.require(session)
            named = self.rows.named(session, keys)
        # A file that nothing names was deleted after it had moved.
        free = [key for key in keys if key not in named or named[key][0] == self.options.target]
        sizes = [named[key][1] if key in named else None for key in free]
        for size, failure in zip(sizes, threads.map(self._delete_one, free, sizes), strict=True):
            if failure is None:
                self.tally.deleted += 1
                self.tally.deleted_size += size or 0
            else:
                self.tally.failed += 1
                yield failure
        self.on_progress()

    def _delete_one(self, key: str, size: int | None) -> Failure | None:
        try:
            reason = None if size is None else self._missing(key, size)
            if reason is None:
                self.source.delete(key)
                # They are made again at the target, when they are asked for.
                delete_thumbnails(self.source, key)
        except StorageError as error:
            reason = str(error)
        return None if reason is None else Failure(None, key, size or 0, reason, True)

    def _missing(self, key: str, size: int) -> str | None:
        """Say what the target lacks of a file that is there; None when nothing, or no such file."""
        try:
            if self.target.stat(key).size == size:
                return None
            reason = "the object at the target has another size"
        except ObjectNotFound:
            reason = "the target has no such object"
        # A client may have deleted the file since its row was read: its row first, then its object.
        with self.database.read() as session:
            return reason if key in self.rows.named(session, [key]) else None
