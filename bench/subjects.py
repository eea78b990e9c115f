"""How each server is asked for the same acts: upload, download, delete.

A subject is a server with one choice of doors; two subjects may share a server. Only here and in
`peers` is anything known of a server's URLs.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from bench import tus
from bench.clients import ClientFailed, Load, Transfer, ask, curl
from bench.driver import NUMBER
from bench.servers import Server
from bench.store import Store
from bench.wrk import fire

CONNECTIONS = 16
BOUNDARY = "bench-boundary-7c1f"


@dataclass(frozen=True)
class Subject(ABC):
    """One column of the table. `scratch` is a folder for what clients receive."""

    name: str
    server: Server
    scratch: Path
    range_status: ClassVar[int] = 206
    """What a range is answered with."""

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

    def seed(self, source: Path) -> str:
        """Store the file, by the own door, and return the path that it is served at."""
        return self.path(self.put(source, source.name), source.name)

    @abstractmethod
    def path(self, uploaded: Transfer, name: str) -> str:
        """Return the path that the upload is now served at."""

    @abstractmethod
    def discard(self, uploaded: Transfer, name: str) -> None:
        """Delete what was uploaded, so that its bytes need never reach the disk."""

    @abstractmethod
    def small_upload(self, body: bytes) -> Load:
        """Return numbered uploads of `body`, each to a new file."""

    def get(self, path: str) -> Transfer:
        """Download the whole file; its bytes are thrown away."""
        return curl(self.server.base + path, [], Path("/dev/null"), 200)

    def conditional(self, path: str) -> str:
        """Return the header that makes a GET of an unchanged file a 304."""
        told = ask(self.server, "HEAD", path, [200])
        if "etag" in told:
            return f"If-None-Match: {told['etag']}"
        return f"If-Modified-Since: {told['last-modified']}"

    def read_rate(self, paths: Sequence[str], seconds: int, fields: Sequence[str] = ()) -> float:
        """GET the paths in turn over CONNECTIONS; return answers in a second."""
        requests = [get_request(path, *fields) for path in paths]
        return fire(self.server, Load(requests, [200]), CONNECTIONS, seconds)

    def upload_rate(self, body: bytes, seconds: int, first: int) -> float:
        """Upload `body` over and over, to files numbered from `first`; return how many a second."""
        return fire(self.server, self.small_upload(body), CONNECTIONS, seconds, first)

    def send(self, path: str, arguments: list[str], expected: int = 201) -> Transfer:
        """Upload by curl; its answer has the status `expected`."""
        return curl(self.server.base + path, arguments, self.scratch / "answer", expected)


class Holdall(Subject):
    """Holdall by all its doors."""

    def put(self, source: Path, name: str) -> Transfer:
        return self.send(f"/api/upload/{name}", ["-T", str(source)])

    def post(self, source: Path, name: str) -> Transfer:
        return self.send("/api/upload", form(source, name))

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
        return small_form("/api/upload", body)


@dataclass(frozen=True)
class HoldallOnS3(Holdall):
    """Holdall with a look into the store behind it."""

    store: Store

    def parts(self, size: int) -> int:
        return self.store.parts(size)


class FilesInFolder(Subject):
    """A server that serves plain files of a folder; `path_of` says under which path."""

    def path_of(self, name: str) -> str:
        """Return the path of the file `name`."""
        return f"/{name}"

    def path(self, uploaded: Transfer, name: str) -> str:
        return self.path_of(name)

    def seed(self, source: Path) -> str:
        link(source, self.server.folder / "files")
        return self.path_of(source.name)

    def discard(self, uploaded: Transfer, name: str) -> None:
        (self.server.folder / "files" / name).unlink()


class Naive(FilesInFolder):
    """The naive blueprint by its form, which is all that it has."""

    def put(self, source: Path, name: str) -> Transfer:
        return self.send("/upload", form(source, name))

    def path_of(self, name: str) -> str:
        return f"/files/{name}"

    def small_upload(self, body: bytes) -> Load:
        return small_form("/upload", body)


class NaiveRaw(Naive):
    """The naive blueprint with the raw door that a careful tutorial adds."""

    def put(self, source: Path, name: str) -> Transfer:
        return self.send(f"/raw/{name}", ["-T", str(source)])


class Nginx(FilesInFolder):
    """nginx: static files and DAV PUT. It has no forms, so its PUT stands in for them."""

    def put(self, source: Path, name: str) -> Transfer:
        return self.send(f"/{name}", ["-T", str(source)])

    def small_upload(self, body: bytes) -> Load:
        return small_put("/", body)


def link(source: Path, folder: Path) -> None:
    """Give `folder` the file, shared with all that have it, so that the page cache holds it."""
    (folder / source.name).hardlink_to(source)


def form(source: Path, name: str) -> list[str]:
    """Return curl's arguments for a form with the file."""
    return ["-F", f"file=@{source};filename={name};type=application/octet-stream"]


def small_form(path: str, body: bytes) -> Load:
    """Return numbered uploads of `body` as a form."""
    head = (
        f"--{BOUNDARY}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{NUMBER.decode()}.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    told = head.encode() + body + f"\r\n--{BOUNDARY}--\r\n".encode()
    fields = [f"Content-Type: multipart/form-data; boundary={BOUNDARY}"]
    return Load([request("POST", path, told, fields)], [201], numbered=True)


def small_put(folder: str, body: bytes, status: int = 201) -> Load:
    """Return numbered uploads of `body` as it is, into `folder`, which ends in a slash."""
    fields = ["Content-Type: application/octet-stream"]
    asked = request("PUT", f"{folder}{NUMBER.decode()}.bin", body, fields)
    return Load([asked], [status], numbered=True)


def request(method: str, path: str, body: bytes, fields: Sequence[str]) -> bytes:
    """Return a prebuilt request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *fields]
    return ("\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n").encode() + body


def get_request(path: str, *headers: str) -> bytes:
    """Return a prebuilt GET."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
