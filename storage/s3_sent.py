"""The body of a request to an S3 store, sent from where it lies in memory. Knows no store.

A socket's timeout is for all that one call sends, so a body of many megabytes goes in pieces, each
of which has that time.
"""

import hashlib
import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Final, Self

from storage.parts import size_of

PIECE: Final = 256 * 1024
"""Bytes that are handed to a socket at a time."""


class Sent:
    """Bytes that are hashed and sent without being copied.

    Iterated, they come in pieces, each good until the next. `small` is all of them, or empty.
    """

    def __init__(self, content: bytes | memoryview) -> None:
        self.small = content if isinstance(content, bytes) else b""
        self._view = memoryview(content)
        self._piece = self._view[:0]

    @classmethod
    @contextmanager
    def rest_of(cls, file: BinaryIO, *, at_once: int) -> Iterator[Self | None]:
        """Lend what a file holds from its position on, which is in memory or is read into it.

        It is `small`, and read, up to `at_once` bytes. None for a larger file that has to be read.
        """
        size = size_of(file)
        if size <= at_once:
            yield cls(b"".join(iter(partial(file.read, at_once), b"")))
        elif memory := _memory_of(file):
            with memory, memory[file.tell() :] as rest:
                sent = cls(rest)
                try:
                    yield sent
                finally:
                    sent.close()
        else:
            yield None

    def __len__(self) -> int:
        return len(self._view)

    def __iter__(self) -> Iterator[memoryview]:
        for start in range(0, len(self._view), PIECE):
            self._piece.release()
            self._piece = self._view[start : start + PIECE]
            yield self._piece

    def sha256(self) -> str:
        """Return the SHA-256 in hexadecimal."""
        return hashlib.sha256(self._view).hexdigest()

    def close(self) -> None:
        """Let go of the memory: an exception that is kept may still hold the piece it came by."""
        self._piece.release()
        self._view.release()


def _memory_of(file: BinaryIO) -> memoryview | None:
    """Return the memory that a file is, unless reading it may be another thing."""
    plain: object = file
    if type(plain) is io.BytesIO:
        return plain.getbuffer()
    return memoryview(plain) if type(plain) is mmap.mmap else None
