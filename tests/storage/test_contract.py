"""The conformance suite over every backend, through the synchronous and the asynchronous face."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from storage import open_storage
from storage.aio import AsyncStorage
from storage.base import Storage
from storage.local import LocalStorage
from storage.memory import MemoryStorage
from tests.storage.contract import StorageContract
from tests.storage.material import MIB
from tests.storage.synced import LoopThread, SyncedStorage
from tests.support.servers import S3Server
from tests.support.tls import TlsFront


class BothFaces(StorageContract):
    """The suite over a `backend` fixture, once as it is and once through AsyncStorage.

    The backend depends on `face`, to be made anew for each: closing the one closes the other.
    """

    @pytest.fixture(scope="class", params=["sync", "async"])
    @classmethod
    def face(cls, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls, face: str, backend: Storage, loop_thread: LoopThread) -> Iterator[Storage]:
        asynchronous = SyncedStorage(AsyncStorage(backend), loop_thread)
        with closing(asynchronous if face == "async" else backend) as storage:
            yield storage


class TestLocalDurable(BothFaces):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, face: str, tmp_path_factory: pytest.TempPathFactory) -> Storage:
        return LocalStorage(tmp_path_factory.mktemp("durable"), durable=True)


class TestLocal(BothFaces):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, face: str, tmp_path_factory: pytest.TempPathFactory) -> Storage:
        return LocalStorage(tmp_path_factory.mktemp("local") / "made", durable=False)


class TestMemory(BothFaces):
    memory_limit = None

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, face: str) -> Storage:
        return MemoryStorage()


def s3_storage(server: S3Server, scratch: Path, **parameters: object) -> Storage:
    """Make the storage of a prefix of its own; its check makes the bucket that is missing."""
    url = server.url("contract", uuid4().hex, create_bucket="true", part_size=5 * MIB, **parameters)
    storage = open_storage(
        url,
        scratch=scratch,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
    )
    storage.check()
    return storage


class TestS3(BothFaces):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(
        cls, face: str, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
    ) -> Storage:
        return s3_storage(s3_server, tmp_path_factory.mktemp("scratch"))


class TestS3OverTls(BothFaces):
    """TLS changes how bodies are framed; sheer size and number have been seen without it."""

    large_size = 40 * MIB
    many = 100

    @pytest.fixture(scope="class")
    @classmethod
    def backend(
        cls,
        face: str,
        s3_server: S3Server,
        s3_tls_front: TlsFront,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Storage:
        return s3_storage(
            s3_server,
            tmp_path_factory.mktemp("scratch"),
            endpoint=s3_tls_front.endpoint,
            ca_bundle=s3_tls_front.ca_bundle,
        )
