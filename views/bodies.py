"""Carries out a Plan: opens the bytes it names and hands them to the server, closed in every case.

It adds no header and decides nothing. The first byte range is opened before the answer begins, so
that a missing object or a store that is down is still an error of its own; what fails later
raises, and the server breaks the connection: a body never ends short in silence.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Protocol

import flask

from services.delivery import Plan
from services.ranges import ByteRange, Piece
from storage.base import CHUNK_SIZE, Body
from storage.errors import IntegrityError

Wrap = Callable[[Any, int], Iterable[bytes]]


class Source(Protocol):
    """What bodies are opened from: a storage, or what is read like one."""

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Body: ...


class PlannedResponse(flask.Response):
    """A response that says what the plan says, and nothing of its own."""

    default_mimetype = None
    automatically_set_content_length = False


class FileWindow:
    """A range of an open file, for `wsgi.file_wrapper`: at its first byte, ending at its last.

    With `fileno` the server sends it by sendfile, from the current position; without (under TLS)
    it reads. Positions are the file's own, since the server takes them from the descriptor.
    """

    def __init__(self, body: Body, file: BinaryIO, stop: int) -> None:
        self._body = body
        self._file = file
        self._stop = stop

    def fileno(self) -> int:
        """Return the descriptor, which stands at the next byte."""
        return self._file.fileno()

    def seek(self, position: int, whence: int = 0) -> int:
        """Move as the file itself would."""
        return self._file.seek(position, whence)

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, none past the window. Raises IntegrityError if cut short."""
        left = self._stop - self._file.tell()
        if left <= 0 or size == 0:
            return b""
        piece = self._file.read(left if size < 0 else min(size, left))
        if not piece:
            raise IntegrityError("The object became shorter while it was sent")
        return piece

    def close(self) -> None:
        """Close the body, and the file with it."""
        self._body.close()


class PiecewiseBody:
    """A body of several pieces, with one byte range open at a time.

    A class and no generator: closing a generator that never ran would close nothing.
    """

    def __init__(self, storage: Source, key: str, size: int, pieces: tuple[Piece, ...]) -> None:
        self._storage = storage
        self._key = key
        self._size = size
        self._pieces = pieces
        first = next((piece for piece in pieces if isinstance(piece, ByteRange)), None)
        self._opened = self._open(first) if first else None

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            body = self._opened or self._open(piece)
            self._opened = body
            yield from body
            self.close()

    def close(self) -> None:
        """Close the byte range that is open, if any."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _open(self, piece: ByteRange) -> Body:
        return open_range(self._storage, self._key, self._size, piece)


def open_range(storage: Source, key: str, size: int, piece: ByteRange) -> Body:
    """Open a range of the object at `key`, which must be `size` bytes long as its row says.

    Raises ObjectNotFound, StorageUnavailable, and IntegrityError where object and row disagree.
    """
    body = storage.open(key, piece.start, piece.stop)
    if body.info.size != size or body.size != piece.length:
        body.close()
        raise IntegrityError(f"The object has {body.info.size} bytes where its row says {size}")
    return body


def read_at_once(body: Body) -> bytes | None:
    """Return all bytes of a plain file's range, or None where the disk would have to be waited for.

    Where the filesystem cannot tell (preadv2(2), RWF_NOWAIT), they are read all the same.
    """
    if body.file is None:
        return None
    fd, content = body.file.fileno(), bytearray(body.size)
    try:
        received = os.preadv(fd, [content], body.file.tell(), os.RWF_NOWAIT)
    except BlockingIOError:
        return None
    except OSError:
        received = os.preadv(fd, [content], body.file.tell())
    return bytes(content) if received == body.size else None


def attach(plan: Plan, storage: Source, key: str, size: int, wrap: Wrap | None) -> Iterable[bytes]:
    """Open what a plan names of the object at `key`, `size` bytes long.

    `wrap` is the server's `wsgi.file_wrapper`: the kernel then sends a plain file. Werkzeug's own
    helper does so for whole files alone, and its ranges read everything before. Raises as
    `open_range` does.
    """
    if not plan.pieces:
        return ()
    if len(plan.pieces) > 1 or not isinstance(plan.pieces[0], ByteRange):
        return PiecewiseBody(storage, key, size, plan.pieces)
    body = open_range(storage, key, size, plan.pieces[0])
    if body.file is None or wrap is None:
        return body
    return wrap(FileWindow(body, body.file, body.file.tell() + body.size), CHUNK_SIZE)


def respond(plan: Plan, storage: Source, key: str, size: int) -> flask.Response:
    """Make the response of a plan for the object at `key`, `size` bytes long."""
    wrap = flask.request.environ.get("wsgi.file_wrapper")
    sent = attach(plan, storage, key, size, wrap)
    # Passed through as it is, since a wrapper around it would hide the file from the server.
    return PlannedResponse(sent, plan.status, plan.headers, direct_passthrough=bool(plan.pieces))
