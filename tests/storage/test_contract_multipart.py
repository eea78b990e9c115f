"""The conformance suite of the capability Multipart over every backend."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from storage.capabilities import Multipart, Presigner
from storage.local import LocalStorage
from storage.memory import MemoryStorage
from storage.s3 import S3Storage
from tests.storage.bucket import Bucket
from tests.storage.contract_multipart import MultipartContract, OpenParts
from tests.storage.resuming import Left
from tests.storage.test_contract_resuming import Lasting, LastingS3
from tests.support.servers import S3Server
from tests.support.tls import TlsFront


class LocalParts(MultipartContract):
    durable: ClassVar[bool]

    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("local")

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, root: Path) -> OpenParts:
        return lambda: LocalStorage(root, durable=cls.durable)

    @pytest.fixture(scope="class")
    @classmethod
    def hidden(cls, root: Path) -> Left:
        return lambda: [str(path.relative_to(root)) for path in root.glob(".*/**/*")]


class TestLocalDurable(LocalParts):
    durable = True


class TestLocal(LocalParts):
    durable = False


class TestMemory(MultipartContract):
    memory_limit = None

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls) -> OpenParts:
        storage = Lasting()
        return lambda: storage


class S3Parts(MultipartContract):
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


class TestS3(S3Parts):
    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, bucket: Bucket) -> OpenParts:
        return bucket.storage


class TestS3OverTls(S3Parts):
    """TLS changes how bodies are framed; that any process can go on has been seen without it."""

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, bucket: Bucket, s3_tls_front: TlsFront) -> Iterator[OpenParts]:
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
    ("make", "signs"),
    [
        (lambda folder: LocalStorage(folder), False),
        (lambda folder: MemoryStorage(), False),
        (lambda folder: S3Storage.from_url("s3://files", scratch=folder), True),
    ],
    ids=["local", "memory", "s3"],
)
def test_every_backend_takes_parts_and_only_s3_signs(
    make: Callable[[Path], object], signs: bool, tmp_path: Path
) -> None:
    assert isinstance(make(tmp_path), Multipart)
    assert isinstance(make(tmp_path), Presigner) is signs
