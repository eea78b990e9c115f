"""The conformance suite over every backend, through the synchronous and the asynchronous face."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from storage.aio import AsyncStorage
from storage.base import Storage
from storage.local import LocalStorage
from storage.memory import MemoryStorage
from tests.storage.contract import StorageContract
from tests.storage.synced import LoopThread, SyncedStorage


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
