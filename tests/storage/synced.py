"""A storage whose every call goes through its asynchronous face, on an event loop in a thread.

With it each test of the contract is written once and runs over both faces.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

from typing_extensions import Buffer

from storage.aio import AsyncBody, AsyncStorage, AsyncWriter
from storage.base import ObjectInfo

T = TypeVar("T")


class LoopThread:
    """An event loop that runs in a thread of its own, as the service's does."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and return its outcome, from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncedStorage:
    """The synchronous contract over an AsyncStorage."""

    def __init__(self, storage: AsyncStorage, loop: LoopThread) -> None:
        self._storage = storage
        self._loop = loop

    def create(self, key: str, *, content_type: str = "application/octet-stream") -> "SyncedWriter":
        return SyncedWriter(self._storage.create(key, content_type=content_type), self._loop)

    def open(self, key: str, start: int = 0, stop: int | None = None) -> "SyncedBody":
        return SyncedBody(self._loop.run(self._storage.open(key, start, stop)), self._loop)

    def stat(self, key: str) -> ObjectInfo:
        return self._loop.run(self._storage.stat(key))

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        objects = self._storage.scan(prefix)

        async def following() -> ObjectInfo | None:
            return await anext(objects, None)

        try:
            while (info := self._loop.run(following())) is not None:
                yield info
        finally:
            self._loop.run(objects.aclose())

    def delete(self, key: str) -> None:
        self._loop.run(self._storage.delete(key))

    def copy(self, source: str, target: str, *, etag: str | None = None) -> ObjectInfo:
        return self._loop.run(self._storage.copy(source, target, etag=etag))

    def check(self) -> None:
        self._loop.run(self._storage.check())

    def close(self) -> None:
        self._loop.run(self._storage.close())


class SyncedWriter:
    def __init__(self, writer: AsyncWriter, loop: LoopThread) -> None:
        self._writer = writer
        self._loop = loop

    def write(self, data: Buffer, /) -> None:
        self._loop.run(self._writer.write(data))

    def commit(self) -> ObjectInfo:
        return self._loop.run(self._writer.commit())

    def __enter__(self) -> Self:
        self._loop.run(self._writer.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._loop.run(self._writer.__aexit__(kind, error, trace))


class SyncedBody:
    def __init__(self, body: AsyncBody, loop: LoopThread) -> None:
        self._body = body
        self._loop = loop
        self.info = body.info
        self.size = body.size

    @property
    def file(self) -> BinaryIO | None:
        return self._body.file

    def __iter__(self) -> Iterator[bytes]:
        pieces = aiter(self._body)

        async def following() -> bytes | None:
            return await anext(pieces, None)

        while (piece := self._loop.run(following())) is not None:
            yield piece

    def close(self) -> None:
        self._loop.run(self._body.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
