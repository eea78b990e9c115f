"""What the S3 tests share: a bucket of a test's own, seen by our storage and by plain boto3."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from storage.parts import PROCESS_BUDGET, Budget
from storage.s3 import S3Storage
from storage.s3_options import S3Options
from storage.s3_session import new_session
from tests.support.servers import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1024 * 1024
MakeStorage = Callable[..., S3Storage]


class Bucket:
    """A bucket that nothing else uses; `storage` makes storages on it."""

    def __init__(self, server: S3Server, scratch: Path) -> None:
        self.server = server
        self.scratch = scratch
        self.name = f"test-{uuid4().hex[:12]}"
        self.client: S3Client = new_session().client(
            "s3",
            endpoint_url=server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=server.access_key_id,
            aws_secret_access_key=server.secret_access_key,
        )
        self._opened: list[S3Storage] = []

    def create(self) -> None:
        self.client.create_bucket(Bucket=self.name)

    def options(self, **parameters: object) -> S3Options:
        """Return the options of a storage with small parts and any parameters of its URL."""
        url = self.server.url(self.name, "", **{"part_size": 5 * MIB, **parameters})
        return S3Options.from_url(url)

    def storage(
        self,
        *,
        budget: Budget = PROCESS_BUDGET,
        secret_access_key: str | None = None,
        public_endpoint: str | None = None,
        **parameters: object,
    ) -> S3Storage:
        """Open a storage on the bucket, with small parts and any parameters of its URL."""
        storage = S3Storage(
            self.options(**parameters),
            scratch=self.scratch,
            access_key_id=self.server.access_key_id,
            secret_access_key=secret_access_key or self.server.secret_access_key,
            public_endpoint=public_endpoint,
            budget=budget,
        )
        self._opened.append(storage)
        return storage

    def unfinished(self) -> list[str]:
        """Return the names that have an unfinished multipart upload."""
        answer = self.client.list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in answer.get("Uploads", [])]

    def names(self) -> list[str]:
        """Return the names of all objects."""
        answer = self.client.list_objects_v2(Bucket=self.name)
        return [entry["Key"] for entry in answer.get("Contents", [])]

    def close(self) -> None:
        for storage in self._opened:
            storage.close()
        self.client.close()


def store(storage: S3Storage, key: str, content: bytes) -> None:
    """Put an object by way of a writer."""
    with storage.create(key) as writer:
        writer.write(content)
        writer.commit()


def stored(storage: S3Storage, key: str) -> bytes:
    """Read an object whole."""
    with storage.open(key) as body:
        return b"".join(body)
