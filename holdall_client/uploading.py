"""Sends files: small ones in one request, large ones by tus, which goes on where it stopped.

What is known of an unfinished upload is kept beside the profile, so that the same command goes on
with it after anything. The SHA-256 is computed along the way and held against the server's.
tus 1.0.0, <https://tus.io/protocols/resumable-upload>.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import httpx

from holdall_client.errors import ClientError, Unreachable
from holdall_client.profile import config_file
from holdall_client.server import Server, body_of, require_success

SMALL: Final = 8 * 1024**2
"""Bytes up to which a file is sent in one request, from memory."""

_PIECE: Final = 256 * 1024
_TUS: Final = {"Tus-Resumable": "1.0.0"}
_TRIES: Final = 8
"""Tries in a row that bring nothing new, before it is given up."""

_PASSING: Final = frozenset({409, 423, 429, 500, 502, 503, 504})
"""Statuses after which another try may go well."""

Advance = Callable[[int], None]
"""Is told to how many bytes of the file the server has come."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file to send. `metadata` is kept with it; `collection` None leaves that to the server."""

    path: Path
    filename: str
    collection: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def send(server: Server, outgoing: Outgoing, advance: Advance) -> dict[str, Any]:
    """Upload a file and return its fields. Raises ClientError."""
    try:
        with outgoing.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if size <= SMALL and not outgoing.metadata:
                return _send_whole(server, outgoing, file.read(), advance)
            return _Resumable(server, outgoing, file, size, advance).send()
    except OSError as error:
        raise ClientError(f"cannot be read: {error.strerror}") from error


def send_stream(
    server: Server, source: BinaryIO, filename: str, collection: str | None, advance: Advance
) -> dict[str, Any]:
    """Upload what `source` gives until its end, which cannot be gone on with later."""
    hashed = hashlib.sha256()
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        while piece := source.read(_PIECE):
            hashed.update(piece)
            yield piece
            sent += len(piece)
            advance(sent)

    path = f"/api/upload/{quote(filename, safe='')}"
    made = server.json("PUT", path, content=pieces(), params=_named(collection))
    _require_same(made, hashed.hexdigest())
    return dict(made)


def _send_whole(
    server: Server, outgoing: Outgoing, content: bytes, advance: Advance
) -> dict[str, Any]:
    """Send one request, again if need be: the server knows a second one by its key."""
    params = {"sha256": hashlib.sha256(content).hexdigest(), **_named(outgoing.collection)}
    path = f"/api/upload/{quote(outgoing.filename, safe='')}"
    headers = {"Idempotency-Key": secrets.token_urlsafe(24)}
    for pause in _pauses():
        try:
            answer = server.attempt("PUT", path, content=content, params=params, headers=headers)
        except Unreachable:
            if pause is None:
                raise
        else:
            if pause is None or answer.status_code not in _PASSING - {409}:
                require_success(answer)
                advance(len(content))
                return dict(body_of(answer))
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _named(collection: str | None) -> dict[str, str]:
    return {} if collection is None else {"collection": collection}


def _pauses() -> Iterator[float | None]:
    """Yield the seconds to wait after each try that fails, None for the last."""
    for tried in range(_TRIES - 1):
        yield min(0.25 * 2**tried, 8)
    yield None


def _require_same(made: Mapping[str, Any], sha256: str) -> None:
    if made.get("sha256") not in (None, sha256):
        raise ClientError(f"changed while it was sent: {made.get('id')} has other bytes")


class _Resumable:
    """One file on its way by tus."""

    def __init__(
        self, server: Server, outgoing: Outgoing, file: BinaryIO, size: int, advance: Advance
    ) -> None:
        self._server = server
        self._outgoing = outgoing
        self._file = file
        self._size = size
        self._advance = advance
        self._record = _Record.of(server.url, outgoing, size)
        self._hash = hashlib.sha256()
        self._hashed = 0

    def send(self) -> dict[str, Any]:
        """Begin, or go on, until all bytes are there; return the file's fields."""
        url = self._record.read()
        offset = self._offset(url) if url else None
        if url is None or offset is None:
            url, offset = self._begin(), 0
        made = self._send_rest(url, offset)
        self._record.forget()
        self._hash_to(self._size)
        _require_same(made, self._hash.hexdigest())
        return made

    def _send_rest(self, url: str, offset: int) -> dict[str, Any]:
        pauses, reached = _pauses(), offset
        while offset < self._size:
            passing, pause = False, next(pauses)
            try:
                answer = self._append(url, offset)
                passing = answer.status_code in _PASSING
                require_success(answer)
                return dict(body_of(answer))
            except ClientError as error:
                if pause is None or not (passing or isinstance(error, Unreachable)):
                    raise
            time.sleep(pause)
            offset = self._offset_again(url, offset)
            if offset > reached:
                pauses, reached = _pauses(), offset
        head = self._server.request("HEAD", url, headers=_TUS)
        file_id = head.headers.get("Upload-File-Id", "")
        return dict(self._server.json("GET", f"/api/files/{file_id}"))

    def _offset_again(self, url: str, known: int) -> int:
        """Ask how far it is; what was known, while nobody answers. Raises ClientError."""
        try:
            offset = self._offset(url)
        except Unreachable:
            return known
        if offset is None:
            self._record.forget()
            raise ClientError("the server has dropped this upload: send it again")
        return offset

    def _begin(self) -> str:
        named = {"filename": self._outgoing.filename, **self._outgoing.metadata}
        if self._outgoing.collection is not None:
            named["collection"] = self._outgoing.collection
        pairs = (f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in named.items())
        headers = _TUS | {"Upload-Length": str(self._size), "Upload-Metadata": ",".join(pairs)}
        answer = self._server.request("POST", "/api/tus", headers=headers)
        url = self._server.absolute(answer.headers.get("Location", ""))
        self._record.write(url)
        return url

    def _offset(self, url: str) -> int | None:
        """Return how many bytes the server has, None where it does not know the upload."""
        answer = self._server.attempt("HEAD", url, headers=_TUS)
        if answer.status_code in (404, 410):
            return None
        require_success(answer)
        offset = int(answer.headers.get("Upload-Offset", 0))
        self._advance(offset)
        return offset

    def _append(self, url: str, offset: int) -> httpx.Response:
        headers = _TUS | {
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(self._size - offset),
            "Prefer": "return=representation",
        }
        return self._server.attempt("PATCH", url, headers=headers, content=self._rest(offset))

    def _rest(self, offset: int) -> Iterator[bytes]:
        self._hash_to(offset)
        self._file.seek(offset)
        left = self._size - offset
        while left and (piece := self._file.read(min(_PIECE, left))):
            if self._hashed == self._size - left:
                self._hash.update(piece)
                self._hashed += len(piece)
            left -= len(piece)
            yield piece
            self._advance(self._size - left)
        if left:
            raise ClientError("became shorter while it was sent")

    def _hash_to(self, offset: int) -> None:
        """Hash what this process has not sent, since an earlier one did."""
        self._file.seek(self._hashed)
        while self._hashed < offset and (
            piece := self._file.read(min(_PIECE, offset - self._hashed))
        ):
            self._hash.update(piece)
            self._hashed += len(piece)


@dataclass(frozen=True, slots=True)
class _Record:
    """Where the URL of one file's upload is kept while it is under way."""

    path: Path

    @classmethod
    def of(cls, server: str, outgoing: Outgoing, size: int) -> "_Record":
        file = outgoing.path.resolve()
        told = [server, str(file), size, file.stat().st_mtime_ns, outgoing.filename]
        told += [outgoing.collection, sorted(outgoing.metadata.items())]
        name = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]
        return cls(config_file().parent / "uploads" / name)

    def read(self) -> str | None:
        try:
            return self.path.read_text() or None
        except FileNotFoundError:
            return None

    def write(self, url: str) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.write_text(url)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
