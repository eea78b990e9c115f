"""An answer on its way to a client, without a wait: not for the client, and not for the disk.

It knows sockets and files, and must not know requests.
"""

import errno
import os
import socket
from contextlib import suppress
from typing import Any, Final, Protocol

PIECE: Final = 1024 * 1024
"""Bytes that the kernel is told to send at a time."""

TURN: Final = 4 * PIECE
"""Bytes that one connection gets before the others have their turn."""


PROBED: Final = 128 * 1024
"""Bytes between those that are looked at; the kernel reads about as many at a time."""


class Body(Protocol):
    """An open file that stands for an answer's bytes."""

    @property
    def file(self) -> Any: ...

    def close(self) -> None: ...


class Ready(Protocol):
    """An answer: its status, its headers as lines that end in CRLF, and its bytes: `content`, or
    `length` of a file from `start` on.
    """

    status: str
    fields: str
    content: bytes
    body: Body | None
    start: int
    length: int


class NotInMemory(Exception):
    """The disk would have to be waited for."""


class Sending:
    """What is left to send of an answer; `keep_alive` says whether another may follow it."""

    __slots__ = ("_body", "_fd", "_left", "_offset", "_piece", "keep_alive")

    def __init__(self, begin: bytes, answer: Ready, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self._piece = memoryview(begin)
        self._body = answer.body
        self._fd = answer.body.file.fileno() if answer.body else -1
        self._offset = answer.start
        self._left = answer.length if answer.body else 0

    def send(self, to: socket.socket) -> bool:
        """Send what the client takes now, within a TURN, and say whether that was all of it.

        Raises BlockingIOError when it takes no more, NotInMemory, and OSError.
        """
        while self._piece:
            flags = socket.MSG_MORE if self._left else 0
            self._piece = self._piece[to.send(self._piece, flags) :]
        end = self._offset + TURN
        while self._left and self._offset < end:
            size = min(self._left, PIECE)
            require_in_memory(self._fd, self._offset, size)
            sent = os.sendfile(to.fileno(), self._fd, self._offset, size)
            if not sent:
                raise OSError(errno.EIO, "the object became shorter while it was sent")
            self._offset += sent
            self._left -= sent
        return not self._left

    def bring(self) -> None:
        """Read what is sent next, so that it is in memory. Waits for the disk."""
        with suppress(OSError):
            os.pread(self._fd, min(self._left, PIECE), self._offset)

    def close(self) -> None:
        """Close the file."""
        if self._body is not None:
            self._body.close()


def require_in_memory(fd: int, offset: int, size: int) -> None:
    """Raise NotInMemory if bytes of a range are on the disk only, by a look at a few of them.

    Where the filesystem cannot tell, they are taken to be in memory.
    """
    try:
        for at in (*range(offset, offset + size - 1, PROBED), offset + size - 1):
            os.preadv(fd, [bytearray(1)], at, os.RWF_NOWAIT)
    except BlockingIOError as error:
        raise NotInMemory from error
    except OSError:
        return
