"""One asynchronous face on any storage: the contract's methods, awaited, run in threads.

    async with storage.create(key) as writer:
        await writer.write(data)
        info = await writer.commit()

    async with await storage.open(key) as body:
        async for piece in body: ...

The promises are those of `storage.base`; nothing is implemented a second time. At most `limit`
calls run at once, each with the context variables of the task that made it. A task that is
cancelled goes on at once: a call that has not begun never does, one that runs finishes in its
thread, and what it opened is closed there. It must not know any backend.
"""

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import BinaryIO, Final, ParamSpec, Self, TypeVar

from typing_extensions import Buffer

from storage.base import Body, ObjectInfo, Storage, Writer

P = ParamSpec("P")
T = TypeVar("T")

_BATCH: Final = 256
"""How many objects a scan fetches in one go."""


class AsyncStorage:
    """The asynchronous face of `storage`, with at most `limit` calls running at once.

    Each storage has threads of its own, so that one that hangs holds up no other.
    """

    def __init__(self, storage: Storage, *, limit: int = 32) -> None:
        self.storage = storage
        self._threads = ThreadPoolExecutor(limit, thread_name_prefix="storage")

    def create(self, key: str, *, content_type: str = "application/octet-stream") -> "AsyncWriter":
        """Begin an object; it is begun when the returned context is entered."""
        return AsyncWriter(
            self._threads, lambda: self.storage.create(key, content_type=content_type)
        )

    async def open(self, key: str, start: int = 0, stop: int | None = None) -> "AsyncBody":
        opening = _submit(self._threads, self.storage.open, key, start, stop)
        try:
            return AsyncBody(self._threads, await asyncio.wrap_future(opening))
        except asyncio.CancelledError:
            opening.add_done_callback(_close_opened)
            raise

    async def stat(self, key: str) -> ObjectInfo:
        return await self._call(self.storage.stat, key)

    async def scan(self, prefix: str = "") -> AsyncGenerator[ObjectInfo, None]:
        """Yield the objects in order, fetched in batches. Close it when it is left early
        (`contextlib.aclosing`), as any asynchronous generator that holds something.
        """
        turns = _Turns(self._threads)
        objects = self.storage.scan(prefix)
        try:
            while batch := await turns.call(_take, objects):
                for info in batch:
                    yield info
        finally:
            await turns.last_call(_close_iterator, objects)

    async def delete(self, key: str) -> None:
        await self._call(self.storage.delete, key)

    async def copy(self, source: str, target: str, *, etag: str | None = None) -> ObjectInfo:
        return await self._call(self.storage.copy, source, target, etag=etag)

    async def check(self) -> None:
        await self._call(self.storage.check)

    async def close(self) -> None:
        """Close the storage when the calls that run have ended."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self.storage.close)

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(_submit(self._threads, function, *args, **kwargs))


class AsyncWriter:
    """A writer whose calls run in threads, one after another."""

    def __init__(self, threads: ThreadPoolExecutor, create: Callable[[], Writer]) -> None:
        self._turns = _Turns(threads)
        self._create = create
        self._writer: Writer | None = None
        self._left = False

    async def write(self, data: Buffer, /) -> None:
        # The thread drops its own view before it answers; until then a bytearray cannot be resized.
        await self._turns.call(self._write, memoryview(data))

    async def commit(self) -> ObjectInfo:
        return await self._turns.call(self._opened().commit)

    def _write(self, view: memoryview) -> None:
        with view:
            self._opened().write(view)

    def _opened(self) -> Writer:
        if self._writer is None:
            raise ValueError("a writer is used inside `async with`")
        return self._writer

    def _enter(self) -> None:
        # A cancelled task may leave before a thread comes to enter.
        if not self._left:
            self._writer = self._create().__enter__()

    def _leave(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._left = True
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    async def __aenter__(self) -> Self:
        try:
            await self._turns.call(self._enter)
        except asyncio.CancelledError:
            self._turns.begin(self._leave)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        await self._turns.last_call(self._leave, kind, error, trace)


class AsyncBody:
    """A body whose pieces are read in threads, one after another."""

    def __init__(self, threads: ThreadPoolExecutor, body: Body) -> None:
        self._turns = _Turns(threads)
        self._body = body
        self.info = body.info
        self.size = body.size

    @property
    def file(self) -> BinaryIO | None:
        return self._body.file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self._body)
        while (piece := await self._turns.call(_next_piece, pieces)) is not None:
            yield piece

    async def close(self) -> None:
        await self._turns.last_call(self._body.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        await self.close()


class _Turns:
    """Runs the calls of one writer, body or scan in threads, never two at a time."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._turn = threading.Lock()

    def begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        def in_turn() -> T:
            with self._turn:
                return function(*args, **kwargs)

        return _submit(self._threads, in_turn)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self.begin(function, *args, **kwargs))

    async def last_call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that takes place even if the task is cancelled while it waits."""
        return await asyncio.shield(asyncio.wrap_future(self.begin(function, *args, **kwargs)))


def _submit(
    threads: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Future[T]:
    context = contextvars.copy_context()
    return threads.submit(lambda: context.run(function, *args, **kwargs))


def _close_opened(opening: Future[Body]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _take(objects: Iterator[ObjectInfo]) -> list[ObjectInfo]:
    return list(islice(objects, _BATCH))


def _next_piece(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)


def _close_iterator(objects: Iterator[ObjectInfo]) -> None:
    close = getattr(objects, "close", None)
    if close is not None:
        close()
