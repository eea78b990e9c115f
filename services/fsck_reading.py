"""Reads files whole, several at a time, and holds their SHA-256 against their rows.

Memory is bounded by the threads. An object that cannot be read, or that has another SHA-256, is
read a second time before it is said to be wrong. It must not know any concrete storage.
"""

import hashlib
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from services.fsck_findings import Finding, Kind, Tally
from services.probes import PROBE_KEY
from services.walking import READY, Row, Rows
from storage.base import Storage
from storage.errors import ObjectNotFound, StorageError, StorageUnavailable

_AHEAD: Final = 4
"""Files that wait for each thread, so that none idles while a large one is read."""
_LOOK_EVERY: Final = 0.5


class _Stopped(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What reading came to: a SHA-256, or a `problem`; neither when the object is another one."""

    row: Row
    sha256: str | None = None
    problem: str | None = None

    def is_bad(self) -> bool:
        """Say whether the bytes could not be read, or are not those that the row promises."""
        other = self.sha256 is not None and self.row.sha256 not in (None, self.sha256)
        return other or self.problem is not None


def answers(storage: Storage) -> bool:
    """Say whether the store answers at all, when it did not for one object."""
    try:
        storage.stat(PROBE_KEY)
    except ObjectNotFound:
        return True
    except StorageError:
        return False
    return True


class Reading:
    """Read the objects of one backend, in `workers` threads."""

    def __init__(
        self,
        backend: str,
        storage: Storage,
        rows: Rows,
        tally: Tally,
        *,
        workers: int,
        on_progress: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._storage = storage
        self._rows = rows
        self._tally = tally
        self._workers = workers
        self._on_progress = on_progress
        self._counting = threading.Lock()
        self._stopped = threading.Event()

    def check(
        self,
        rows: Iterator[Row],
        *,
        doubt: Callable[[str], None],
        fill: Callable[[Row, str], None],
    ) -> Generator[Finding]:
        """Read the object of each row, and yield what is wrong with its bytes.

        `doubt` is told the keys of those that went away or changed meanwhile, `fill` the SHA-256
        of those whose row has none. Raises StorageUnavailable when the store does not answer.
        """
        with self._threads() as threads:
            waiting: set[Future[_Result]] = set()
            for row in rows:
                waiting.add(threads.submit(self._examine, row))
                while len(waiting) >= _AHEAD * self._workers:
                    waiting = yield from self._settle(waiting, doubt, fill)
            while waiting:
                waiting = yield from self._settle(waiting, doubt, fill)

    @contextmanager
    def _threads(self) -> Iterator[ThreadPoolExecutor]:
        """Open the threads; however the block is left, they end after the piece in hand."""
        threads = ThreadPoolExecutor(self._workers, thread_name_prefix="fsck")
        try:
            yield threads
        finally:
            self._stopped.set()
            threads.shutdown(cancel_futures=True)

    def _settle(
        self,
        waiting: set[Future[_Result]],
        doubt: Callable[[str], None],
        fill: Callable[[Row, str], None],
    ) -> Generator[Finding, None, set[Future[_Result]]]:
        """Wait for some to end; the rest is returned."""
        done, rest = wait(waiting, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
        for future in done:
            result = future.result()
            self._tally.read += 1
            if result.problem is None and result.sha256 is None:
                doubt(result.row.key)
            elif result.row.sha256 is None and result.sha256 is not None:
                fill(result.row, result.sha256)
            elif result.is_bad() and self._still_says_so(result.row):
                yield self._finding(result)
        self._on_progress()
        return rest

    def _still_says_so(self, row: Row) -> bool:
        """Say whether the row still promises what was read in vain."""
        again = self._rows.named(self._backend, [row.key]).get(row.key)
        return again is not None and again.state == READY and again.sha256 == row.sha256

    def _finding(self, result: _Result) -> Finding:
        row = result.row
        kind = Kind.SHA256 if result.problem is None else Kind.UNREADABLE
        return Finding(
            kind,
            self._backend,
            row.key,
            file=row.id,
            expected=row.sha256 if kind is Kind.SHA256 else row.size,
            found=result.sha256,
            note=result.problem,
        )

    def _examine(self, row: Row) -> _Result:
        """Read an object, and once more if that came to no good."""
        result = self._read(row)
        if result.is_bad():
            result = self._read(row)
        if result.problem is not None and not answers(self._storage):
            raise StorageUnavailable(result.problem)
        return result

    def _read(self, row: Row) -> _Result:
        try:
            return _Result(row, sha256=self._sha256(row))
        except ObjectNotFound:
            return _Result(row)
        except StorageError as error:
            return _Result(row, problem=str(error))

    def _sha256(self, row: Row) -> str | None:
        """Return the SHA-256 of the object, None when it has another size than the row."""
        digest = hashlib.sha256()
        with self._storage.open(row.key) as body:
            if body.size != row.size:
                return None
            for piece in body:
                digest.update(piece)
                self._count(len(piece))
        return digest.hexdigest()

    def _count(self, size: int) -> None:
        if self._stopped.is_set():
            raise _Stopped
        with self._counting:
            self._tally.read_size += size
