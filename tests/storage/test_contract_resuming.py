"""The conformance suite of the capability Resumable over every backend."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from storage.capabilities import Resumable
from storage.local import LocalStorage
from storage.memory import MemoryStorage
from storage.s3 import S3Storage
from tests.storage.bucket import Bucket
from tests.storage.contract_resuming import ResumingContract
from tests.storage.resuming import Left, OpenStore
from tests.support.servers import S3Server
from tests.support.tls import TlsFront


class LocalResuming(ResumingContract):
    durable: ClassVar[bool]

    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("local")

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, root: Path) -> OpenStore:
        return lambda: LocalStorage(root, durable=cls.durable)

    @pytest.fixture(scope="class")
    @classmethod
    def hidden(cls, root: Path) -> Left:
        return lambda: [path.name for path in root.glob(".*/*")]


class TestLocalDurable(LocalResuming):
    durable = True


class TestLocal(LocalResuming):
    durable = False


class Lasting(MemoryStorage):
    """Memory that is there for the next one to open it."""

    def close(self) -> None: ...


class LastingS3(S3Storage):
    """A connection that is there for the next one to use it."""

    def close(self) -> None: ...


class TestMemory(ResumingContract):
    memory_limit = None

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls) -> OpenStore:
        storage = Lasting()
        return lambda: storage


class S3Resuming(ResumingContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bucket(
        cls, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Bucket]:
        bucket = Bucket(s3_server, tmp_path_factory.mktemp("scratch"))
        bucket.create()
        yield bucket
        bucket.close()

    @pytest.fixture(scope="class")
    @classmethod
    def hidden(cls, bucket: Bucket) -> Left:
        return bucket.unfinished


class TestS3(S3Resuming):
    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, bucket: Bucket) -> OpenStore:
        return bucket.storage


class TestS3OverTls(S3Resuming):
    """TLS changes how bodies are framed; that any process can go on has been seen without it."""

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, bucket: Bucket, s3_tls_front: TlsFront) -> Iterator[OpenStore]:
        options = bucket.options(endpoint=s3_tls_front.endpoint, ca_bundle=s3_tls_front.ca_bundle)
        storage = LastingS3(
            options,
            scratch=bucket.scratch,
            access_key_id=bucket.server.access_key_id,
            secret_access_key=bucket.server.secret_access_key,
        )
        yield lambda: storage
        S3Storage.close(storage)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: LocalStorage(folder),
        lambda folder: MemoryStorage(),
        lambda folder: S3Storage.from_url("s3://files", scratch=folder),
    ],
    ids=["local", "memory", "s3"],
)
def test_every_backend_says_that_it_can(make: Callable[[Path], object], tmp_path: Path) -> None:
    assert isinstance(make(tmp_path), Resumable)
