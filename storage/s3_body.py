"""The bytes of an object in an S3 store, streamed: the Body of `storage.s3`.

It counts, and goes on once after a break. Knows a stream and a way to open it again, not the SDK.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from storage.base import CHUNK_SIZE, ObjectInfo
from storage.errors import StorageError, StorageUnavailable


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

    @property
    def file(self) -> BinaryIO | None:
        return None

    def __iter__(self) -> Iterator[bytes]:
        while self._position < self.size:
            piece = self._next_piece()
            self._position += len(piece)
            yield piece

    def close(self) -> None:
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
            piece = self._stream.read(min(CHUNK_SIZE, self.size - self._position))
        if not piece:
            raise StorageUnavailable("the store broke off in the middle of an object")
        return piece
