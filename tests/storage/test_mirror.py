"""Storages that are put together of others: the whole contract by the primary, and who is read."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storage import open_mirror
from storage.base import Storage
from storage.capabilities import Filed, Mirrored, Multipart, Presigner, Resumable, Sweepable
from storage.errors import ObjectNotFound, StorageUnavailable
from storage.keys import new_key
from storage.local import LocalStorage
from storage.memory import MemoryStorage
from storage.mirror import MirrorStorage
from storage.s3 import S3Storage
from tests.storage.contract import StorageContract
from tests.storage.contract_multipart import MultipartContract
from tests.storage.contract_resuming import ResumingContract
from tests.storage.material import MIB, get, keys_of, put
from tests.storage.resuming import Left
from tests.storage.test_contract import s3_storage
from tests.support.servers import S3Server

CAPABILITIES = (Multipart, Resumable, Presigner, Filed, Sweepable)


class TestLocalPrimary(StorageContract):
    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
        primary = LocalStorage(tmp_path_factory.mktemp("primary"), durable=False)
        with closing(primary), closing(MemoryStorage()) as mirror:
            yield open_mirror({"local": primary, "far": mirror})


@pytest.mark.spare
class TestS3Primary(StorageContract):
    large_size = 40 * MIB
    many = 100

    @pytest.fixture(scope="class")
    @classmethod
    def storage(
        cls, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Storage]:
        primary = s3_storage(s3_server, tmp_path_factory.mktemp("scratch"))
        mirror = LocalStorage(tmp_path_factory.mktemp("mirror"), durable=False)
        with closing(primary), closing(mirror):
            yield open_mirror({"s3": primary, "local": mirror})


class OnAFolder:
    """A store that is opened anew, as the next process would."""

    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("primary")

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, root: Path) -> Any:
        def open_it() -> Storage:
            primary = LocalStorage(root, durable=False)
            return open_mirror({"local": primary, "far": MemoryStorage()})

        return open_it

    @pytest.fixture(scope="class")
    @classmethod
    def hidden(cls, root: Path) -> Left:
        return lambda: [str(path.relative_to(root)) for path in root.glob(".*/**/*")]


class TestPartsOnAFolder(OnAFolder, MultipartContract):
    """Parts go to the primary."""


class TestAppendsOnAFolder(OnAFolder, ResumingContract):
    """Appends go to the primary."""


@pytest.mark.parametrize("kind", ("local", "s3", "memory"))
def test_a_mirror_can_do_what_its_primary_can(kind: str, tmp_path: Path) -> None:
    made: dict[str, Storage] = {
        "local": LocalStorage(tmp_path),
        "s3": S3Storage.from_url("s3://files", scratch=tmp_path),
        "memory": MemoryStorage(),
    }
    primary = made.pop(kind)
    storage = open_mirror({kind: primary} | made)
    for capability in CAPABILITIES:
        assert isinstance(storage, capability) is isinstance(primary, capability), capability
    assert isinstance(storage, Mirrored) and not isinstance(primary, Mirrored)
    assert storage.primary == kind
    if isinstance(primary, Multipart):
        assert isinstance(storage, Multipart)
        assert storage.maximum_parts == primary.maximum_parts
        assert storage.minimum_part_size == primary.minimum_part_size


def test_a_mirror_has_two_storages_at_least() -> None:
    with pytest.raises(ValueError, match="at least one mirror"):
        open_mirror({"local": MemoryStorage()})


class Down(MemoryStorage):
    """A storage that counts how often it is asked, and does not answer while it is `down`."""

    down = True
    asked = 0

    def _get(self, key: str) -> Any:
        self.asked += 1
        if self.down:
            raise StorageUnavailable("it is down")

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Any:
        self._get(key)
        return super().open(key, start, stop)

    def stat(self, key: str) -> Any:
        self._get(key)
        return super().stat(key)

    def check(self) -> None:
        self._get("")


@pytest.fixture
def first() -> Down:
    return Down()


@pytest.fixture
def second() -> Down:
    return Down()


@pytest.fixture
def mirror(first: Down, second: Down) -> MirrorStorage:
    found = open_mirror({"first": first, "second": second})
    assert isinstance(found, MirrorStorage)
    return found


def test_what_the_primary_lacks_or_cannot_give_is_read_from_a_mirror(
    mirror: MirrorStorage, first: Down, second: Down
) -> None:
    key, second.down = new_key(), False
    put(second, key, b"text")
    assert get(mirror, key, 1) == b"ext"
    first.down = False
    assert get(mirror, key) == b"text"
    assert mirror.stat(key).size == 4
    mirror._down_until["first"] = 0.0
    put(mirror, key, b"newer")
    assert get(mirror, key) == get(first, key) == b"newer"
    assert get(second, key) == b"text", "nothing is written to a mirror"


def test_a_member_that_was_down_a_moment_ago_is_asked_last(
    mirror: MirrorStorage, first: Down, second: Down
) -> None:
    key, second.down = new_key(), False
    put(second, key, b"text")
    for _ in range(5):
        mirror.stat(key)
    assert (first.asked, second.asked) == (1, 5)
    mirror._down_until["first"] = 0.0
    mirror.stat(key)
    assert first.asked == 2


def test_nothing_is_said_to_be_missing_while_a_member_is_down(
    mirror: MirrorStorage, first: Down, second: Down
) -> None:
    for first.down, second.down in ((True, False), (False, True), (True, True)):
        for _ in range(2):
            with pytest.raises(StorageUnavailable):
                mirror.stat(new_key())
    first.down = second.down = False
    with pytest.raises(ObjectNotFound):
        mirror.stat(new_key())


def test_a_delete_and_a_listing_are_the_primary_s(
    mirror: MirrorStorage, first: Down, second: Down
) -> None:
    first.down = second.down = False
    keys = sorted(new_key() for _ in range(3))
    for key in keys:
        put(second, key, b"text")
    put(first, keys[1], b"text")
    assert keys_of(mirror) == [keys[1]]
    mirror.delete(keys[1])
    assert keys_of(mirror) == []
    assert keys_of(second) == keys


def test_a_mirror_that_fails_its_check_is_a_warning(
    mirror: MirrorStorage, first: Down, second: Down, caplog: pytest.LogCaptureFixture
) -> None:
    first.down = False
    with caplog.at_level(logging.WARNING, "holdall.storage"):
        mirror.check()
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["backend"]) == ("a mirror fails", "second")
    first.down = True
    with pytest.raises(StorageUnavailable):
        mirror.check()
