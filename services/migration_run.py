"""The course of a migration: files go out to the workers, and their rows are switched in batches.

    walk ──▸ at most a few files in hand for each worker ──▸ copies that were read back ──▸ switch

One transaction switches many rows, and only those that still are what they were when their file was
copied; of the others the copy is deleted. It asks in each that the turn is still ours. It must not
know any concrete storage.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Final

from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.database import Database
from services.fsck_second_look import Notes
from services.migration_figures import Failure, Options, Stop, Stopped, Tally
from services.migration_moving import Copied, Mover, NotCopied, Outcome
from services.migration_rows import Rows
from services.migration_turn import Turn
from storage.base import Storage
from storage.errors import StorageError

PASSES: Final = 3
"""How often the rows are walked, as long as files appear on the source meanwhile."""

_AHEAD: Final = 3
"""Files in hand for each worker, so that none waits for the next: when one for each is done, and it
is time for further ones, there are two for each."""
_BATCH: Final = 200
_BATCH_SECONDS: Final = 1.0
_TICK: Final = 0.2
_PAUSES: Final = (0.5, 2.0)
_HOPELESS: Final = 100
"""Files that failed before a single one moved, after which no more are tried."""
_LISTED_PER_LOOK: Final = 50
"""Objects that a store lists in the time that it takes to ask for one."""

log = logging.getLogger("holdall.migration")


class Run:
    """One run over the rows of the source. `moved` notes the keys of those that were switched."""

    def __init__(
        self,
        database: Database,
        rows: Rows,
        target: Storage,
        mover: Mover,
        turn: Turn,
        stop: Stop,
        options: Options,
        tally: Tally,
        moved: Notes,
        on_progress: Callable[[], None],
        *,
        may_discard: bool = True,
    ) -> None:
        """Without `may_discard` what is at the target stays: it may be the original itself."""
        self._database = database
        self._rows = rows
        self._target = target
        self._mover = mover
        self._turn = turn
        self._stop = stop
        self._options = options
        self._tally = tally
        self._moved = moved
        self._on_progress = on_progress
        self._may_discard = may_discard
        self._done: deque[Future[Outcome]] = deque()
        self._some_done = Event()
        self._in_hand = 0
        self._copied: dict[str, Copied] = {}
        self._unwanted: list[str] = []
        self._switched_at = time.monotonic()

    def move_all(self) -> Iterator[Failure]:
        """Move what is on the source, and yield what could not be. Raises as Migration.run does.

        However it is left, the rows of all copies that were read back are switched.
        """
        threads = ThreadPoolExecutor(self._options.workers, thread_name_prefix="migrate")
        try:
            yield from self._passes(threads)
        except BaseException:
            self._mover.stop()
            threads.shutdown(cancel_futures=True)
            with suppress(Exception):
                self._salvage()
            raise
        finally:
            threads.shutdown(cancel_futures=True)

    def _passes(self, threads: ThreadPoolExecutor) -> Iterator[Failure]:
        after = 0
        for _ in range(PASSES):
            until, before = self._rows.last_number(), self._tally.done
            for job in self._jobs(after):
                while self._in_hand >= _AHEAD * self._options.workers:
                    yield from self._settle()
                self._in_hand += 1
                threads.submit(job).add_done_callback(self._note)
            while self._in_hand:
                yield from self._settle()
            self._switch()
            if self._tally.done == before:
                return
            after = until

    def _jobs(self, after: int) -> Iterator[Callable[[], Outcome]]:
        """Yield calls that move a file each: told what the target lists at its key, or to ask it.

        Only after a crash, or on the way back, is there something.
        """
        rows = self._rows.to_move(after)
        if after or self._rows.number_on_target() > _LISTED_PER_LOOK * self._tally.files:
            yield from (partial(self._mover.look_and_move, row) for row in rows)
            return
        objects = self._target.scan()
        found = next(objects, None)
        for row in rows:
            while found is not None and found.key < row.key:
                found = next(objects, None)
            here = found is not None and found.key == row.key
            yield partial(self._mover.move, row, found if here else None)

    def _note(self, future: Future[Outcome]) -> None:
        self._done.append(future)
        if len(self._done) >= min(self._options.workers, self._in_hand):
            self._some_done.set()

    def _settle(self) -> Iterator[Failure]:
        """Wait a moment for files to be done, and switch rows when it is time."""
        self._stop.require_not()
        if self._some_done.wait(_TICK):
            self._some_done.clear()
        while self._done:
            # Taken away last: where the caller leaves in between, no copy is lost.
            yield from self._take(self._done[0].result())
            self._done.popleft()
            self._in_hand -= 1
        due = time.monotonic() - self._switched_at >= _BATCH_SECONDS
        if due or len(self._copied) >= _BATCH:
            self._switch()
        self._on_progress()

    def _take(self, outcome: Outcome) -> Iterator[Failure]:
        self._tally.done += 1
        if isinstance(outcome, Copied):
            self._copied[outcome.row.key] = outcome
            return
        if outcome.reason is None:
            self._tally.gone += 1
        if outcome.reason is None or outcome.wrong_copy:
            self._unwanted.append(outcome.row.key)
        if outcome.reason is not None:
            yield self._failure(outcome, outcome.reason)

    def _failure(self, outcome: NotCopied, reason: str) -> Failure:
        self._tally.failed += 1
        if self._tally.failed >= _HOPELESS and not self._tally.moved and not self._copied:
            raise Stopped(f"none of the first {_HOPELESS} files could be moved; the last: {reason}")
        row = outcome.row
        return Failure(row.id, row.key, row.size, reason)

    def _switch(self) -> None:
        """Switch the rows of the copies that were read back, and delete copies of no use."""
        copied, unwanted = list(self._copied.values()), self._unwanted
        if copied or unwanted:
            at_target = self._commit(copied, unwanted)
            # Only now: what a failure has kept from being switched is tried again.
            self._copied, self._unwanted = {}, []
            self._count_or_discard(copied, unwanted, at_target)
        self._switched_at = time.monotonic()

    def _count_or_discard(
        self, copied: Sequence[Copied], unwanted: list[str], at_target: set[str]
    ) -> None:
        for copy in copied:
            if copy.row.key in at_target:
                self._count(copy)
            else:
                self._tally.gone += 1
                unwanted.append(copy.row.key)
        for key in unwanted:
            if key not in at_target:
                self._discard(key)

    def _commit(self, copied: Sequence[Copied], unwanted: Sequence[str]) -> set[str]:
        """Switch, in one transaction, and return which keys the target's rows have now.

        Tried again when the database fails: where the commit took effect, the answer is the same.
        """
        for pause in _PAUSES:
            try:
                return self._commit_once(copied, unwanted)
            except (OperationalError, PoolTimeout) as error:
                log.warning("rows were not switched yet", extra={"reason": str(error)})
                time.sleep(pause)
        return self._commit_once(copied, unwanted)

    def _commit_once(self, copied: Sequence[Copied], unwanted: Sequence[str]) -> set[str]:
        keys = [copy.row.key for copy in copied]
        digests = {copy.row.key: copy.sha256 for copy in copied if copy.row.sha256 is None}
        with self._database.write() as session:
            self._turn.require(session)
            return self._rows.switch(session, keys, digests, also=unwanted)

    def _count(self, copy: Copied) -> None:
        self._tally.moved += 1
        self._tally.moved_size += copy.row.size
        self._tally.reused += copy.reused
        self._tally.filled += copy.row.sha256 is None
        if self._options.delete_source:
            self._moved.add(copy.row.key)

    def _discard(self, key: str) -> None:
        """Delete a copy that no row names; keys are never given twice, so none will."""
        if not self._may_discard:
            return
        try:
            self._target.delete(key)
        except StorageError as error:
            log.warning("a copy was left", extra={"key": key, "reason": str(error)})

    def _salvage(self) -> None:
        """Take what the workers had done when they were stopped."""
        while self._done:
            future = self._done.popleft()
            if not future.cancelled() and future.exception() is None:
                for _ in self._take(future.result()):
                    pass
        self._switch()
