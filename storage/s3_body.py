"""The bytes of an object in an S3 store, streamed: the Body of `storage.s3`.

It counts, and goes on once after a break. A reader who is quick gets larger pieces: each costs a
turn of everything between the store and the client. Knows a stream and a way to open it again, not
the SDK.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from threading import BoundedSemaphore
from types import TracebackType
from typing import BinaryIO, Final, Protocol, Self

from storage.base import CHUNK_SIZE, LARGEST_CHUNK, ObjectInfo
from storage.errors import StorageError, StorageUnavailable

QUICK: Final = 0.25
"""Seconds that a reader takes at the most with a piece, to be given a larger one."""

QUICK_AT_ONCE: Final = 12
"""Readers of a process that have large pieces at a time, so that their memory is bounded."""

_quick: Final = BoundedSemaphore(QUICK_AT_ONCE)


class Stream(Protocol):
    """The body of one answer."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class StreamedBody:
    """A Body over one answer, or over two when the first one breaks off.

    `reopen(skip)` opens the same range of the same version again without its first `skip` bytes;
    `errors` turns the SDK's errors into ours.
    """

    def __init__(
        self,
        info: ObjectInfo,
        size: int,
        stream: Stream | None,
        *,
        reopen: Callable[[int], Stream],
        errors: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.info = info
        self.size = size
        self._stream = stream
        self._reopen = reopen
        self._errors = errors
        self._position = 0
        self._may_reopen = True
        self._largest = CHUNK_SIZE

    @property
    def file(self) -> BinaryIO | None:
        return None

    def __iter__(self) -> Iterator[bytes]:
        while self._position < self.size:
            piece = self._next_piece()
            self._position += len(piece)
            handed = time.monotonic()
            yield piece
            del piece
            self._adapt(time.monotonic() - handed < QUICK)

    def _adapt(self, is_quick: bool) -> None:
        """Find out how much may be read at once for a reader."""
        if not is_quick:
            self._slow_down()
        elif self._largest < LARGEST_CHUNK and (
            self._largest > CHUNK_SIZE or _quick.acquire(blocking=False)
        ):
            self._largest *= 2

    def _slow_down(self) -> None:
        if self._largest > CHUNK_SIZE:
            self._largest = CHUNK_SIZE
            _quick.release()

    def close(self) -> None:
        self._slow_down()
        stream, self._stream = self._stream, None
        if stream is not None:
            with suppress(StorageError), self._errors():
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.close()

    def _next_piece(self) -> bytes:
        try:
            return self._read()
        except StorageUnavailable:
            if not self._may_reopen:
                raise
        self._may_reopen = False
        self.close()
        self._stream = self._reopen(self._position)
        return self._read()

    def _read(self) -> bytes:
        if self._stream is None:
            raise ValueError("the body is closed")
        with self._errors():
            piece = self._stream.read(min(self._largest, self.size - self._position))
        if not piece:
            raise StorageUnavailable("the store broke off in the middle of an object")
        return piece
