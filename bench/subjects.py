"""How each server is asked for the same acts: upload, download, delete.

A subject is a server with one choice of doors; two subjects may share a server. Only here is
anything known of a server's URLs.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import tus
from bench.clients import ClientFailed, Load, Transfer, ask, curl
from bench.driver import NUMBER
from bench.servers import Server
from bench.store import Store

BOUNDARY = "bench-boundary-7c1f"


@dataclass(frozen=True)
class Subject(ABC):
    """One column of the table. `scratch` is a folder for what clients receive."""

    name: str
    server: Server
    scratch: Path

    @abstractmethod
    def put(self, source: Path, name: str) -> Transfer:
        """Upload the file as a raw body, or by the only door there is."""

    def post(self, source: Path, name: str) -> Transfer:
        """Upload the file as a form, or by the only door there is."""
        return self.put(source, name)

    def put_piece(self, piece: tus.Piece) -> Transfer:
        """Upload the piece as a raw body, by the client that speaks tus too."""
        raise ClientFailed(f"{self.name} is not asked for this")

    def tus(self, pieces: Sequence[tus.Piece], patch: int) -> list[Transfer]:
        """Upload the pieces at the same time, in patches of `patch` bytes."""
        raise ClientFailed(f"{self.name} does not speak tus")

    def sha256(self, uploaded: Transfer) -> str:
        """Return the SHA-256 that the server says an upload has."""
        raise ClientFailed(f"{self.name} tells no digest")

    def parts(self, size: int) -> int:
        """Return how many parts the stored file of that size was put together from."""
        raise ClientFailed(f"{self.name} does not store parts")

    @abstractmethod
    def path(self, uploaded: Transfer, name: str) -> str:
        """Return the path that the upload is now served at."""

    def discard(self, uploaded: Transfer, name: str) -> None:
        """Delete what was uploaded, so that its bytes need never reach the disk."""
        (self.server.folder / "files" / name).unlink()

    @abstractmethod
    def small_upload(self, body: bytes) -> Load:
        """Return numbered uploads of `body`, each to a new file."""

    def get(self, path: str) -> Transfer:
        """Download the whole file; its bytes are thrown away."""
        return curl(self.server.base + path, [], Path("/dev/null"), 200)

    def etag(self, path: str) -> str:
        """Return the file's ETag as it is sent, quotes and all."""
        return ask(self.server, "HEAD", path, [200])["etag"]

    def _send(self, path: str, arguments: list[str]) -> Transfer:
        return curl(self.server.base + path, arguments, self.scratch / "answer", 201)


class Holdall(Subject):
    """Holdall by all its doors."""

    def put(self, source: Path, name: str) -> Transfer:
        return self._send(f"/api/upload/{name}", ["-T", str(source)])

    def post(self, source: Path, name: str) -> Transfer:
        return self._send("/api/upload", _form(source, name))

    def put_piece(self, piece: tus.Piece) -> Transfer:
        return tus.put(self.server, "/api/upload/piece.bin", piece)

    def tus(self, pieces: Sequence[tus.Piece], patch: int) -> list[Transfer]:
        return tus.upload(self.server, "/api/tus", pieces, patch)

    def sha256(self, uploaded: Transfer) -> str:
        told: str = json.loads(uploaded.body)["sha256"]
        return told

    def path(self, uploaded: Transfer, name: str) -> str:
        url: str = json.loads(uploaded.body)["url"]
        return urlsplit(url).path

    def discard(self, uploaded: Transfer, name: str) -> None:
        ask(
            self.server,
            "DELETE",
            f"/api/files/{json.loads(uploaded.body)['id']}",
            [200, 202, 204],
        )

    def small_upload(self, body: bytes) -> Load:
        return _small_form("/api/upload", body)


@dataclass(frozen=True)
class HoldallOnS3(Holdall):
    """Holdall with a look into the store behind it."""

    store: Store

    def parts(self, size: int) -> int:
        return self.store.parts(size)


class Naive(Subject):
    """The naive blueprint by its form, which is all that it has."""

    def put(self, source: Path, name: str) -> Transfer:
        return self._send("/upload", _form(source, name))

    def path(self, uploaded: Transfer, name: str) -> str:
        return f"/files/{name}"

    def small_upload(self, body: bytes) -> Load:
        return _small_form("/upload", body)


class NaiveRaw(Naive):
    """The naive blueprint with the raw door that a careful tutorial adds."""

    def put(self, source: Path, name: str) -> Transfer:
        return self._send(f"/raw/{name}", ["-T", str(source)])


class Nginx(Subject):
    """nginx: static files and DAV PUT. It has no forms, so its PUT stands in for them."""

    def put(self, source: Path, name: str) -> Transfer:
        return self._send(f"/{name}", ["-T", str(source)])

    def path(self, uploaded: Transfer, name: str) -> str:
        return f"/{name}"

    def small_upload(self, body: bytes) -> Load:
        request = _request("PUT", f"/{NUMBER.decode()}.bin", body, "application/octet-stream")
        return Load([request], [201, 204], numbered=True)


def _form(source: Path, name: str) -> list[str]:
    return ["-F", f"file=@{source};filename={name};type=application/octet-stream"]


def _small_form(path: str, body: bytes) -> Load:
    head = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{NUMBER.decode()}.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    form = head.encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()
    request = _request("POST", path, form, f"multipart/form-data; boundary={BOUNDARY}")
    return Load([request], [201], numbered=True)


def _request(method: str, path: str, body: bytes, content_type: str) -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get_request(path: str, *headers: str) -> bytes:
    """Return a prebuilt GET."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
