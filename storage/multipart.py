"""Bytes into a Multipart store, part by part, and the one Writer that stands on it.

A small object is one request, a larger one is sent in parts by a shared pool of threads while the
next part is collected. Knows the contract and part buffers; the store behind it is known as
`PartStore` only.
"""

import contextlib
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Protocol, Self

from typing_extensions import Buffer

from storage.base import ObjectInfo
from storage.capabilities import Multipart, Part
from storage.errors import StorageError, StorageUnavailable
from storage.parts import Budget, PartBuffer

PARTS_IN_FLIGHT: Final = 3
QUICK: Final = 2.0
"""Seconds that filling a part takes at the most, of a sender who is taken to fill the next one too.
One who then stops holds a large page and no more."""
_PARTS_OF_ONE_SIZE: Final = 900


class PartStore(Multipart, Protocol):
    """What the writer needs: the Multipart capability, and one request for a small object."""

    def put(self, key: str, body: BinaryIO, *, content_type: str) -> ObjectInfo:
        """Store the whole object in one request."""


def part_capacity(part_size: int, number: int) -> int:
    """Return how large part `number` (from 1) may get.

    It doubles every 900 parts: 10,000 parts, of at first 5 MiB or more, hold over 5 TiB, the most
    that S3 allows, and objects of usual size stay in small parts.
    """
    return int(min(part_size << (number - 1) // _PARTS_OF_ONE_SIZE, 5 * 1024**3))


class InFlight:
    """Jobs in other threads, at most `limit` at a time, whose first failure is raised here."""

    def __init__(self, executor: Executor, limit: int = PARTS_IN_FLIGHT) -> None:
        self._executor = executor
        self._limit = limit
        self._running: deque[Future[Part]] = deque()
        self.parts: list[Part] = []

    def __bool__(self) -> bool:
        return bool(self._running)

    def submit(self, job: Callable[[], Part]) -> None:
        """Start `job`, waiting first for the oldest one when too many run."""
        while len(self._running) >= self._limit:
            self.settle_one()
        self._running.append(self._executor.submit(job))

    def settle_one(self) -> None:
        """Wait for the oldest job and keep its part, or raise its error."""
        self.parts.append(self._running.popleft().result())

    def settle(self) -> list[Part]:
        """Wait for all jobs and return their parts in the order in which they were submitted."""
        while self._running:
            self.settle_one()
        return self.parts

    def raise_failure(self) -> None:
        """Raise the error of a job that has failed already, without waiting for any."""
        while self._running and self._running[0].done():
            self.settle_one()

    def drop(self) -> None:
        """Cancel what has not begun and wait for the rest, whatever comes of it."""
        jobs, self._running = list(self._running), deque()
        for job in jobs:
            job.cancel()
        wait(jobs)


@dataclass(frozen=True, slots=True)
class Means:
    """What a process lends to all that send parts: threads, memory, and a folder for the rest."""

    executor: Executor
    budget: Budget
    scratch: Path


class PartStream(ABC):
    """Bytes on their way into parts, each of which is sent when it is full and more has arrived.

    It is what all that write in parts have in common; a subclass says how parts are cut, how
    their upload begins, and what becomes of it at the end.
    """

    def __init__(
        self,
        store: PartStore,
        key: str,
        means: Means,
        *,
        upload_id: str | None = None,
        sent: int = 0,
    ) -> None:
        self._store = store
        self._key = key
        self._means = means
        self._in_flight = InFlight(means.executor)
        self._waiting: set[PartBuffer] = set()
        self._upload_id = upload_id
        self._number = sent + 1
        self._part = self._new_part(quick=False)
        self._part_began = time.monotonic()
        self._failure: BaseException | None = None
        self._done = False

    @abstractmethod
    def _capacity(self, number: int) -> int:
        """Return how large part `number` gets."""

    @abstractmethod
    def _begin(self) -> str:
        """Begin the upload that the parts belong to, and return its id."""

    @abstractmethod
    def _leave(self) -> None:
        """Undo what is on the store, after the last act and with the memory of parts in flight."""

    def write(self, data: Buffer, /) -> None:
        with self._acting(), memoryview(data) as given, given.cast("B") as view:
            self._in_flight.raise_failure()
            self._collect(view)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        if not self._done:
            self._end()
            self._leave()

    @contextlib.contextmanager
    def _acting(self) -> Iterator[None]:
        """Allow one more act, but none after one that failed or after the end."""
        if self._done or self._failure is not None:
            raise ValueError("nothing more can be written: it was ended, left, or failed before")
        try:
            yield
        except BaseException as exc:
            self._failure = exc
            raise

    def _end(self) -> None:
        self._done = True
        self._part.close()

    def _clean(self, job: Callable[[], None]) -> None:
        """Do `job` now, or later if the store is away: a caller should not wait a second time."""
        if isinstance(self._failure, StorageUnavailable):
            self._means.executor.submit(job)
        else:
            job()

    def _new_part(self, *, quick: bool) -> PartBuffer:
        means = self._means
        capacity = self._capacity(self._number)
        return PartBuffer(capacity, budget=means.budget, scratch=means.scratch, large_pages=quick)

    def _collect(self, view: memoryview) -> None:
        while view:
            if not self._part.room:
                self._send()
            taken = view[: self._part.room]
            self._find_memory(len(taken))
            self._part.append(taken)
            view = view[len(taken) :]

    def _find_memory(self, size: int) -> None:
        """Get memory for `size` bytes, waiting for parts of our own; else the part is a file."""
        while self._part.in_memory and not self._part.take_memory(size):
            if not self._in_flight:
                return
            self._in_flight.settle_one()

    def _send(self) -> None:
        if self._number > self._store.maximum_parts:
            raise StorageError("the object has more parts than the store takes")
        if self._upload_id is None:
            self._upload_id = self._begin()
        part, number, upload_id = self._part, self._number, self._upload_id
        self._waiting.add(part)
        self._in_flight.submit(lambda: self._put(upload_id, number, part))
        self._number += 1
        before, self._part_began = self._part_began, time.monotonic()
        self._part = self._new_part(quick=self._part_began - before < QUICK)

    def _put(self, upload_id: str, number: int, part: PartBuffer) -> Part:
        try:
            return self._store.put_part(self._key, upload_id, number, part.reader())
        finally:
            part.close()
            self._waiting.discard(part)

    def _drop_parts(self) -> None:
        """Wait until no part is on its way: one that lands later would do harm on the store."""
        self._in_flight.drop()
        for part in list(self._waiting):
            part.close()

    def _abort(self, upload_id: str) -> None:
        with contextlib.suppress(StorageError):
            self._store.abort(self._key, upload_id)


class PartWriter(PartStream):
    """A Writer of one object."""

    def __init__(
        self, store: PartStore, key: str, means: Means, *, content_type: str, part_size: int
    ) -> None:
        self._content_type = content_type
        self._part_size = part_size
        super().__init__(store, key, means)

    def commit(self) -> ObjectInfo:
        with self._acting():
            info = self._finish()
        self._end()
        return info

    def _finish(self) -> ObjectInfo:
        if self._upload_id is None:
            return self._store.put(self._key, self._part.reader(), content_type=self._content_type)
        self._send()
        return self._store.complete(self._key, self._upload_id, self._in_flight.settle())

    def _capacity(self, number: int) -> int:
        return part_capacity(self._part_size, number)

    def _begin(self) -> str:
        return self._store.begin(self._key, content_type=self._content_type)

    def _leave(self) -> None:
        upload_id = self._upload_id
        if upload_id is not None:
            self._clean(lambda: self._discard(upload_id))

    def _discard(self, upload_id: str) -> None:
        self._drop_parts()
        self._abort(upload_id)
