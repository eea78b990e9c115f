"""Take the bytes of a body off its client's socket, in pieces as large as the client is fast.

Each piece costs a turn of everything between the socket and the disk, and the kernel wakes a reader
as soon as anything has come. So it is asked to wait until a whole piece is there (MSG_WAITALL),
for a moment at the most; whoever is too slow for that gets less room, and no one waits for the
pieces of another. This module knows sockets, and must not know requests.
"""

import select
import socket
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore
from typing import Any, Final, Self

from services.digests import BEHIND

Piece = bytes | bytearray
"""Bytes that came. A bytearray is used again once `services.digests.BEHIND` more were asked for."""

FIRST: Final = 64 * 1024
"""Bytes of the first piece, and of all pieces of a slow client."""

NEXT: Final = 2 * FIRST
"""Bytes of the pieces of one who is not slow, where many others have large ones."""

LARGEST: Final = 1024 * 1024
"""Bytes of a piece of a fast client."""

FAST_AT_ONCE: Final = 12
"""Clients of a process that have large pieces at a time: they are all of a few cores' load."""

WITHIN: Final = 0.25
"""Seconds that the kernel waits for a piece to be whole."""

_BUFFERS: Final = BEHIND + 1
_TIMEVAL: Final = struct.Struct("@ll")
_fast: Final = BoundedSemaphore(FAST_AT_ONCE)


class Receiver:
    """Receives into a few buffers in turn, each no larger than the body needs.

    A client that fills its buffer gets larger ones, so that a thousand slow ones have little. It is
    a context manager, in which it may have large ones.
    """

    def __init__(self, source: Any) -> None:
        self._receive_into = source.recv_into
        self._room = FIRST
        self._is_fast = False
        self._buffers: deque[bytearray] = deque()
        self._shrink()

    def __call__(self, left: int) -> Piece:
        """Return at most `left` bytes, which are all that is to come; none when the client left.

        A buffer is handed out when it is full. What does not fill one is copied out of it, so that
        those that were handed out before stay as they are.
        """
        room = min(left, self._room)
        buffer = self._buffers[0]
        if len(buffer) != room:
            buffer = self._buffers[0] = bytearray(room)
        received = self._receive(buffer)
        if received == room:
            self._buffers.rotate(-1)
            self._grow()
            return buffer
        self._shrink()
        with memoryview(buffer) as view:
            return bytes(view[:received])

    def _receive(self, buffer: bytearray) -> int:
        count: int = self._receive_into(buffer)
        return count

    def _grow(self) -> None:
        if self._room == NEXT and not self._is_fast:
            self._is_fast = _fast.acquire(blocking=False)
        self._room = LARGEST if self._is_fast else NEXT

    def _shrink(self) -> None:
        if self._room > FIRST or not self._buffers:
            self._buffers = deque(bytearray() for _ in range(_BUFFERS))
        self._room = FIRST
        if self._is_fast:
            self._is_fast = False
            _fast.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shrink()


class WholePieces(Receiver):
    """Receives from a plain socket that is in the care of `whole_pieces`.

    A client that sends nothing for `timeout` seconds raises TimeoutError.
    """

    def __init__(self, source: Any, timeout: float) -> None:
        super().__init__(source)
        self._poll = select.poll()
        self._poll.register(source, select.POLLIN)
        self._timeout = timeout

    def _receive(self, buffer: bytearray) -> int:
        while True:
            try:
                count: int = self._receive_into(buffer, 0, socket.MSG_WAITALL)
            except BlockingIOError:
                if not self._poll.poll(self._timeout * 1000):
                    raise TimeoutError from None
            else:
                return count


def is_plain(connection: Any) -> bool:
    """Say whether a socket is the kernel's own: TLS knows no flags."""
    return type(connection) is socket.socket


@contextmanager
def whole_pieces(connection: socket.socket) -> Iterator[None]:
    """Have the kernel end a wait for a whole piece after WITHIN seconds, for the block.

    Python's own timeout would make the socket non-blocking, and MSG_WAITALL mean nothing.
    """
    timeout = connection.gettimeout()
    before = connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.size)
    limit = _TIMEVAL.pack(int(WITHIN), int(WITHIN % 1 * 1_000_000))
    connection.setblocking(True)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
    try:
        yield
    finally:
        # Of one that was closed meanwhile there is nothing left to set.
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, before)
            connection.settimeout(timeout)
