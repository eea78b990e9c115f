"""How the opponents from PyPI and npm are asked for the acts that every subject knows.

Each by the door that costs it least where it has several, and forms where a case is about forms.
"""

import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import file_digest
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from bench import tus
from bench.clients import ClientFailed, Load, Transfer, ask
from bench.store import BUCKET, Store
from bench.subjects import (
    CONNECTIONS,
    FilesInFolder,
    Naive,
    NaiveRaw,
    Subject,
    form,
    link,
    request,
    small_put,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TUS_PATCH = 64 * 1024 * 1024


class _ByPut(Subject):
    """A server that takes a PUT in `folder` and gives the file back under the same path."""

    folder = "/"
    stored = 201

    def put(self, source: Path, name: str) -> Transfer:
        return self.send(self.folder + name, ["-T", str(source)], self.stored)

    def path(self, uploaded: Transfer, name: str) -> str:
        return self.folder + name

    def discard(self, uploaded: Transfer, name: str) -> None:
        ask(self.server, "DELETE", self.folder + name, [200, 202, 204])

    def small_upload(self, body: bytes) -> Load:
        return small_put(self.folder, body, self.stored)


class SeaweedFiler(_ByPut):
    """SeaweedFS by its filer."""

    folder = "/files/"

    def post(self, source: Path, name: str) -> Transfer:
        return self.send(self.folder, form(source, name))


class SeaweedS3(_ByPut):
    """SeaweedFS by its S3 door, unsigned."""

    folder = f"/{BUCKET}/"
    stored = 200


class Rclone(_ByPut):
    """`rclone serve http` and `webdav` over a folder."""

    folder = f"/{BUCKET}/"

    def seed(self, source: Path) -> str:
        # `serve http` takes no uploads. Nothing was listed yet that rclone could remember.
        link(source, self.server.folder / "files" / BUCKET)
        return self.folder + source.name


class RcloneS3(Rclone):
    """`rclone serve s3`, unsigned; a folder is a bucket. It sends a range, and says 200."""

    stored = 200
    range_status = 200


class Copyparty(FilesInFolder, _ByPut):
    """copyparty by PUT, and by its form where a case is about forms."""

    def post(self, source: Path, name: str) -> Transfer:
        fields = ["-F", "act=bput", "-F", f"f=@{source};filename={name}"]
        return self.send("/?j", fields)


class Starlette(NaiveRaw):
    """The Starlette app, which has the doors of the naive blueprint."""

    def post(self, source: Path, name: str) -> Transfer:
        return Naive.put(self, source, name)


class TusServer(Subject):
    """@tus/server, which speaks tus and nothing else to upload."""

    def put(self, source: Path, name: str) -> Transfer:
        piece = tus.Piece(source, 0, source.stat().st_size)
        return self.tus([piece], TUS_PATCH)[0]

    def tus(self, pieces: Sequence[tus.Piece], patch: int) -> list[Transfer]:
        return tus.upload(self.server, "/files", pieces, patch)

    def sha256(self, uploaded: Transfer) -> str:
        with open(self._file(uploaded), "rb") as stored:
            return file_digest(stored, "sha256").hexdigest()

    def path(self, uploaded: Transfer, name: str) -> str:
        return uploaded.place

    def discard(self, uploaded: Transfer, name: str) -> None:
        self._file(uploaded).unlink()

    def small_upload(self, body: bytes) -> Load:
        fields = [
            "Tus-Resumable: 1.0.0",
            f"Upload-Length: {len(body)}",
            "Content-Type: application/offset+octet-stream",
        ]
        return Load([request("POST", "/files", body, fields)], [201])

    def _file(self, uploaded: Transfer) -> Path:
        return self.server.folder / "files" / uploaded.place.rpartition("/")[2]


@dataclass(frozen=True)
class Boto3(Subject):
    """boto3's own upload_fileobj and download_fileobj, straight to the store, in this process."""

    store: Store

    def put(self, source: Path, name: str) -> Transfer:
        with self.store.client() as client, open(source, "rb") as file:
            started = time.monotonic()
            client.upload_fileobj(file, BUCKET, name)
            return Transfer(time.monotonic() - started, source.stat().st_size, b"")

    def get(self, path: str) -> Transfer:
        moved: list[int] = []
        with self.store.client() as client, open("/dev/null", "wb") as nowhere:
            started = time.monotonic()
            client.download_fileobj(BUCKET, path, nowhere, Callback=moved.append)
            return Transfer(time.monotonic() - started, sum(moved), b"")

    def path(self, uploaded: Transfer, name: str) -> str:
        return name

    def discard(self, uploaded: Transfer, name: str) -> None:
        with self.store.client() as client:
            client.delete_object(Bucket=BUCKET, Key=name)

    def small_upload(self, body: bytes) -> Load:
        raise ClientFailed("boto3 sends its own requests")

    def upload_rate(self, body: bytes, seconds: int, first: int) -> float:
        def act(client: "S3Client", number: int) -> None:
            client.upload_fileobj(io.BytesIO(body), BUCKET, f"small/{first + number}")

        return self._rate(act, seconds)

    def read_rate(self, paths: Sequence[str], seconds: int, fields: Sequence[str] = ()) -> float:
        def act(client: "S3Client", number: int) -> None:
            client.download_fileobj(BUCKET, paths[number % len(paths)], io.BytesIO())

        return self._rate(act, seconds)

    def _rate(self, act: Callable[["S3Client", int], None], seconds: int) -> float:
        """Act over and over in CONNECTIONS threads; return how often in a second."""
        numbers = count()
        with self.store.client() as client, ThreadPoolExecutor(CONNECTIONS) as threads:
            end = time.monotonic() + seconds

            def repeat(_: int) -> int:
                done = 0
                while time.monotonic() < end:
                    act(client, next(numbers))
                    done += 1
                return done

            return sum(threads.map(repeat, range(CONNECTIONS))) / seconds
