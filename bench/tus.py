"""A tus 1.0.0 client: creation, then patches one after the other, for several uploads at once.

The kernel sends the bytes (sendfile(2)), so that it uses less CPU than any server it loads. What
tus costs is told by the same client's raw PUT. It knows nothing of a server but the protocol.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from threading import Barrier
from typing import BinaryIO
from urllib.parse import urlsplit

from bench.clients import ClientFailed, Transfer
from bench.servers import Server

VERSION = {"Tus-Resumable": "1.0.0"}
SECONDS = 120.0
"""How long one step of a connection may take."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The `size` bytes of a file from `start` on, which become one upload."""

    file: Path
    start: int
    size: int


@cache
def sha256(piece: Piece) -> str:
    """Return the digest of a piece, in hexadecimal."""
    running, left = hashlib.sha256(), piece.size
    with open(piece.file, "rb") as source:
        source.seek(piece.start)
        while chunk := source.read(min(left, 1024 * 1024)):
            running.update(chunk)
            left -= len(chunk)
    return running.hexdigest()


def upload(server: Server, path: str, pieces: Sequence[Piece], patch: int) -> list[Transfer]:
    """Upload all pieces at the same time, a connection each, in patches of `patch` bytes.

    An answer's body is the file that was made, as JSON, if the server tells of it; `place` is the
    upload's path. Raises ClientFailed.
    """
    together = Barrier(len(pieces))

    def one(piece: Piece) -> Transfer:
        together.wait(SECONDS)
        return _upload(server, path, piece, patch)

    with ThreadPoolExecutor(len(pieces)) as threads:
        return list(threads.map(one, pieces))


def put(server: Server, path: str, piece: Piece) -> Transfer:
    """Upload the piece as the one body of a PUT. Raises ClientFailed."""
    started = time.monotonic()
    with _connected(server) as connection, open(piece.file, "rb") as source:
        _send(connection, "PUT", path, {}, source, piece.start, piece.size)
        _, body = _answer(connection, (201,))
    return Transfer(time.monotonic() - started, piece.size, body)


def _upload(server: Server, path: str, piece: Piece, patch: int) -> Transfer:
    started, body = time.monotonic(), b""
    with _connected(server) as connection, open(piece.file, "rb") as source:
        target = _create(connection, path, piece.size)
        for offset in range(0, piece.size, patch):
            size = min(patch, piece.size - offset)
            body = _patch(connection, target, offset, source, piece.start + offset, size)
    return Transfer(time.monotonic() - started, piece.size, body, target)


@contextmanager
def _connected(server: Server) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    try:
        yield connection
    except (OSError, HTTPException) as failure:
        raise ClientFailed(f"our client: {failure!r}") from failure
    finally:
        connection.close()


def _create(connection: HTTPConnection, path: str, size: int) -> str:
    fields = {"Upload-Length": str(size), "Content-Length": "0"}
    connection.request("POST", path, headers={**VERSION, **fields})
    told, _ = _answer(connection, (201,))
    return urlsplit(told["Location"]).path


def _patch(
    connection: HTTPConnection, target: str, offset: int, source: BinaryIO, start: int, size: int
) -> bytes:
    fields = {
        "Upload-Offset": str(offset),
        "Content-Type": "application/offset+octet-stream",
        "Prefer": "return=representation",
    }
    _send(connection, "PATCH", target, {**VERSION, **fields}, source, start, size)
    told, body = _answer(connection, (200, 204))
    if told["Upload-Offset"] != str(offset + size):
        raise ClientFailed(f"tus: offset {told['Upload-Offset']}, not {offset + size}")
    return body


def _send(
    connection: HTTPConnection,
    method: str,
    path: str,
    fields: Mapping[str, str],
    source: BinaryIO,
    start: int,
    size: int,
) -> None:
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in {**fields, "Content-Length": str(size)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.sock.sendfile(source, start, size)


def _answer(connection: HTTPConnection, expected: Sequence[int]) -> tuple[HTTPMessage, bytes]:
    answer = connection.getresponse()
    body = answer.read()
    if answer.status not in expected:
        raise ClientFailed(f"our client: status {answer.status}: {body[:300]!r}")
    return answer.headers, body
