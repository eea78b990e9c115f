"""The conformance suite of the capability Multipart: run it over a backend that has it.

    class TestMyParts(MultipartContract):
        @pytest.fixture(scope="class")
        @classmethod
        def open_store(cls) -> OpenParts:
            return lambda: MyStorage(...)

It knows `storage.base` only, and must not know any backend.
"""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import BinaryIO, ClassVar, Protocol, cast

import pytest

from storage.base import Storage
from storage.capabilities import Multipart, Part
from storage.errors import IntegrityError, InvalidKey, ObjectNotFound, StorageError
from storage.keys import new_key
from tests.storage.material import MIB, content_of, get, is_absent, keys_of, put
from tests.storage.resident import peak_growth
from tests.storage.resuming import Left


class PartsStorage(Storage, Multipart, Protocol):
    """A storage with the capability."""


OpenParts = Callable[[], PartsStorage]
"""Opens one store anew at each call, as the next process would."""


class MultipartContract:
    """Everything that a backend promises of Multipart, as tests over an `open_store` fixture.

    A backend whose scan does not show what it keeps of uploads gives a `hidden` too. `memory_limit`
    is how many bytes the process may grow by while parts of `large_size` bytes pass; None says
    that the backend keeps them in memory.
    """

    part_size: ClassVar[int] = 5 * MIB
    large_size: ClassVar[int] = 60 * MIB
    memory_limit: ClassVar[int | None] = 32 * MIB

    @pytest.fixture
    def storage(self, open_store: OpenParts) -> Iterator[PartsStorage]:
        with closing(open_store()) as storage:
            yield storage

    @pytest.fixture(scope="class")
    @classmethod
    def hidden(cls) -> Left:
        """Return what the store holds of uploads without a scan showing it."""
        return list

    @pytest.fixture
    def left(self, storage: PartsStorage, hidden: Left) -> Left:
        """Return what has come to the store since the test began, seen by a scan or not."""
        before = {*keys_of(storage), *hidden()}
        return lambda: sorted({*keys_of(storage), *hidden()} - before)

    # What is put together

    def test_parts_put_in_any_order_by_any_process_make_one_object(
        self, open_store: OpenParts, left: Left
    ) -> None:
        key, pieces = new_key(), {3: b"end", 1: content_of(self.part_size), 2: self.middle()}
        with closing(open_store()) as storage:
            upload_id = storage.begin(key, content_type="text/plain")
        parts = {}
        for number, piece in pieces.items():
            with closing(open_store()) as storage:
                parts[number] = storage.put_part(key, upload_id, number, piece)
        with closing(open_store()) as storage:
            listed = storage.list_parts(key, upload_id)
            assert listed == [parts[number] for number in sorted(parts)]
            assert [part.size for part in listed] == [len(pieces[n]) for n in sorted(pieces)]
            assert is_absent(storage, key)
        with closing(open_store()) as storage:
            info = storage.complete(key, upload_id, listed)
            assert (info.key, info.size) == (key, sum(map(len, pieces.values())))
            assert get(storage, key) == pieces[1] + pieces[2] + pieces[3]
            assert storage.stat(key).etag == info.etag
        assert left() == [key]

    @pytest.mark.parametrize("size", [0, 1, 5 * MIB])
    def test_one_part_is_enough(self, storage: PartsStorage, left: Left, size: int) -> None:
        key = new_key()
        upload_id = storage.begin(key)
        part = storage.put_part(key, upload_id, 7, content_of(size))
        assert storage.complete(key, upload_id, [part]).size == size
        assert get(storage, key) == content_of(size)
        assert left() == [key]

    def test_a_file_is_a_part_from_where_it_stands(self, storage: PartsStorage) -> None:
        key, content = new_key(), content_of(self.part_size + 7)
        upload_id = storage.begin(key)
        file = io.BytesIO(content)
        file.seek(7)
        part = storage.put_part(key, upload_id, 1, file)
        assert part.size == self.part_size
        storage.complete(key, upload_id, [part])
        assert get(storage, key) == content[7:]

    def test_a_part_may_be_a_range_of_another_object(self, storage: PartsStorage) -> None:
        source, key = new_key(), new_key()
        content = content_of(self.part_size + 1000)
        put(storage, source, content)
        upload_id = storage.begin(key)
        parts = [
            storage.copy_part(key, upload_id, 1, source, 5, 5 + self.part_size),
            storage.copy_part(key, upload_id, 2, source, 0, 1),
        ]
        assert storage.complete(key, upload_id, parts).size == self.part_size + 1
        assert get(storage, key) == content[5 : 5 + self.part_size] + content[:1]

    def test_a_range_that_is_not_there_is_no_part(self, storage: PartsStorage) -> None:
        source, key = new_key(), new_key()
        put(storage, source, b"short")
        upload_id = storage.begin(key)
        for start, stop in ((3, 3), (-1, 2), (4, 3)):
            with pytest.raises(ValueError, match="byte"):
                storage.copy_part(key, upload_id, 1, source, start, stop)
        for name, start, stop in ((source, 3, 50), (source, 50, 60), (new_key(), 0, 1)):
            with pytest.raises(StorageError):
                storage.copy_part(key, upload_id, 1, name, start, stop)
        assert storage.list_parts(key, upload_id) == []
        storage.abort(key, upload_id)

    def test_a_part_put_again_replaces_the_earlier_one(self, storage: PartsStorage) -> None:
        key = new_key()
        upload_id = storage.begin(key)
        old = storage.put_part(key, upload_id, 1, b"the old, and longer one")
        new = storage.put_part(key, upload_id, 1, b"the new one")
        assert old.etag != new.etag
        assert new in storage.list_parts(key, upload_id)
        storage.complete(key, upload_id, [new])
        assert get(storage, key) == b"the new one"

    def test_a_part_that_breaks_off_changes_nothing(
        self, storage: PartsStorage, left: Left
    ) -> None:
        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() > 100_000:
                    raise ConnectionResetError
                return super().read(65536)

        key = new_key()
        upload_id = storage.begin(key)
        part = storage.put_part(key, upload_id, 1, b"whole")
        with pytest.raises((StorageError, ConnectionResetError)):
            storage.put_part(key, upload_id, 1, Broken(bytes(MIB)))
        assert storage.list_parts(key, upload_id) == [part]
        storage.complete(key, upload_id, [part])
        assert get(storage, key) == b"whole"
        assert left() == [key]

    def test_parts_that_are_not_named_are_dropped(self, storage: PartsStorage, left: Left) -> None:
        key = new_key()
        upload_id = storage.begin(key)
        parts = [storage.put_part(key, upload_id, number, self.middle()) for number in (1, 2, 5)]
        storage.complete(key, upload_id, parts[::2])
        assert get(storage, key) == self.middle() * 2
        assert left() == [key]

    def test_what_was_at_the_key_stays_until_the_upload_is_complete(
        self, storage: PartsStorage
    ) -> None:
        key = new_key()
        put(storage, key, b"old")
        upload_id = storage.begin(key)
        part = storage.put_part(key, upload_id, 1, b"new, and longer")
        assert get(storage, key) == b"old"
        storage.complete(key, upload_id, [part])
        assert get(storage, key) == b"new, and longer"

    def test_parts_may_come_at_once_and_uploads_do_not_mix(self, storage: PartsStorage) -> None:
        key = new_key()
        uploads = [storage.begin(key) for _ in range(2)]

        def send(number: int) -> tuple[Part, Part]:
            first, second = (
                storage.put_part(key, upload, number, bytes([number + 100 * at]) * self.part_size)
                for at, upload in enumerate(uploads)
            )
            return first, second

        with ThreadPoolExecutor(4) as threads:
            sent = list(threads.map(send, range(1, 7)))
        for at, upload in enumerate(uploads):
            storage.complete(key, upload, [parts[at] for parts in sent])
            for number in range(1, 7):
                end = number * self.part_size
                assert get(storage, key, end - 2, end) == bytes([number + 100 * at]) * 2

    def test_it_passes_in_constant_memory(self, storage: PartsStorage) -> None:
        key, file = new_key(), cast(BinaryIO, Counting(self.large_size))
        upload_id = storage.begin(key)
        with peak_growth() as growth:
            parts = [storage.put_part(key, upload_id, number, file) for number in (1, 2)]
            assert storage.complete(key, upload_id, parts).size == 2 * self.large_size
        storage.delete(key)
        assert self.memory_limit is None or growth.size < self.memory_limit

    # What is refused

    def test_a_missing_or_foreign_part_is_refused_and_the_upload_stays(
        self, storage: PartsStorage
    ) -> None:
        key = new_key()
        upload_id = storage.begin(key)
        first = storage.put_part(key, upload_id, 1, content_of(self.part_size))
        second = storage.put_part(key, upload_id, 2, b"end")
        for wrong in (
            [first, replace(second, number=3)],
            [first, replace(second, etag="0" * 32)],
            [first, replace(second, etag=first.etag)],
            [second, first],
            [first, first],
        ):
            with pytest.raises(IntegrityError):
                storage.complete(key, upload_id, wrong)
        with pytest.raises(ValueError, match="at least one"):
            storage.complete(key, upload_id, [])
        assert is_absent(storage, key)
        storage.complete(key, upload_id, [first, second])
        assert get(storage, key, self.part_size) == b"end"

    @pytest.mark.parametrize("number", [-1, 0, 10_001, 2**63])
    def test_a_number_that_no_part_has_is_refused(self, storage: PartsStorage, number: int) -> None:
        key = new_key()
        put(storage, key, b"x")
        upload_id = storage.begin(key)
        with pytest.raises(ValueError, match="numbered"):
            storage.put_part(key, upload_id, number, b"x")
        with pytest.raises(ValueError, match="numbered"):
            storage.copy_part(key, upload_id, number, key, 0, 1)
        last = storage.put_part(key, upload_id, storage.maximum_parts, b"last")
        assert storage.list_parts(key, upload_id) == [last]
        storage.abort(key, upload_id)

    def test_what_belongs_to_no_upload_is_not_found_and_leaves_nothing(
        self, storage: PartsStorage, left: Left
    ) -> None:
        source, key = new_key(), new_key()
        put(storage, source, b"x")
        other = storage.begin(source)
        gone = storage.begin(key)
        storage.abort(key, gone)
        part = Part(1, "0" * 32, 1)
        for upload_id in (
            "",
            "x",
            "../" * 9 + "etc",
            "." * 28,
            "a" * 60,
            "\0" * 36,
            "é" * 40,
            gone,
            other,
        ):
            for act in (
                lambda upload_id=upload_id: storage.put_part(key, upload_id, 1, b"x"),
                lambda upload_id=upload_id: storage.copy_part(key, upload_id, 1, source, 0, 1),
                lambda upload_id=upload_id: storage.list_parts(key, upload_id),
                lambda upload_id=upload_id: storage.complete(key, upload_id, [part]),
            ):
                with pytest.raises(ObjectNotFound):
                    act()
            storage.abort(key, upload_id)
        assert storage.list_parts(source, other) == []
        storage.abort(source, other)
        assert left() == [source]

    def test_a_key_that_is_none_is_refused(self, storage: PartsStorage) -> None:
        upload_id = storage.begin(new_key())
        for key in ("../passwd", "ab/..", ".unfinished/x", "ab/a.b"):
            for act in (
                lambda key=key: storage.begin(key),
                lambda key=key: storage.put_part(key, upload_id, 1, b"x"),
                lambda key=key: storage.list_parts(key, upload_id),
                lambda key=key: storage.complete(key, upload_id, [Part(1, "0", 1)]),
                lambda key=key: storage.abort(key, upload_id),
            ):
                with pytest.raises(InvalidKey):
                    act()

    # When an answer is lost, or nobody comes back

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_completion_may_be_asked_for_again(
        self, open_store: OpenParts, storage: PartsStorage, left: Left, count: int
    ) -> None:
        key = new_key()
        upload_id = storage.begin(key)
        parts = [
            storage.put_part(key, upload_id, number, self.middle())
            for number in range(1, count + 1)
        ]
        made = storage.complete(key, upload_id, parts)
        with closing(open_store()) as again:
            repeated = again.complete(key, upload_id, parts)
        assert (repeated.size, repeated.etag) == (made.size, made.etag)
        assert get(storage, key) == self.middle() * count
        assert left() == [key]
        storage.delete(key)
        with pytest.raises(ObjectNotFound):
            storage.complete(key, upload_id, parts)

    def test_completions_at_once_make_one_object(self, storage: PartsStorage, left: Left) -> None:
        for count in (1, 3):
            key = new_key()
            upload_id = storage.begin(key)
            parts = [
                storage.put_part(key, upload_id, number, self.middle())
                for number in range(1, count + 1)
            ]
            with ThreadPoolExecutor(4) as threads:
                made = [threads.submit(storage.complete, key, upload_id, parts) for _ in range(4)]
            # A store may refuse one that comes in the middle of another; asked again, it agrees.
            assert any(job.exception() is None for job in made)
            assert storage.complete(key, upload_id, parts).size == count * len(self.middle())
            assert get(storage, key) == self.middle() * count
            assert left() == [key]
            storage.delete(key)

    def test_an_aborted_upload_leaves_nothing_and_may_be_aborted_again(
        self, storage: PartsStorage, left: Left
    ) -> None:
        key = new_key()
        put(storage, key, b"another object")
        upload_id = storage.begin(key)
        part = storage.put_part(key, upload_id, 1, content_of(self.part_size))
        for _ in range(2):
            storage.abort(key, upload_id)
        with pytest.raises(ObjectNotFound):
            storage.complete(key, upload_id, [part])
        assert get(storage, key) == b"another object"
        assert left() == [key]

    def test_uploads_that_nobody_finished_are_found_and_aborted(
        self, storage: PartsStorage, left: Left
    ) -> None:
        keys = sorted(new_key() for _ in range(3))
        ids = {key: storage.begin(key) for key in keys}
        finished = new_key()
        upload_id = storage.begin(finished)
        part = storage.put_part(finished, upload_id, 1, b"x")
        storage.put_part(keys[0], ids[keys[0]], 1, b"x")
        storage.complete(finished, upload_id, [part])
        now = datetime.now(UTC)
        assert not self.stale(storage, now - timedelta(minutes=1), [*keys, finished])
        found = self.stale(storage, now + timedelta(minutes=1), [*keys, finished])
        assert sorted(found) == keys
        for key, (stale_id, begun) in found.items():
            assert begun.utcoffset() == timedelta(0)
            assert abs(now - begun) < timedelta(minutes=1)
            storage.abort(key, stale_id)
            with pytest.raises(ObjectNotFound):
                storage.put_part(key, ids[key], 2, b"x")
        assert not self.stale(storage, now + timedelta(minutes=1), keys)
        assert left() == [finished]

    @staticmethod
    def stale(
        storage: PartsStorage, older_than: datetime, keys: list[str]
    ) -> dict[str, tuple[str, datetime]]:
        """Return the id and the begin of those of `keys` that have a stale upload."""
        found = storage.stale_multiparts(older_than)
        return {key: (upload_id, begun) for key, upload_id, begun in found if key in keys}

    def middle(self) -> bytes:
        return content_of(self.part_size + 3)


class Counting(io.RawIOBase):
    """A file of zeros that is as long as it says and takes no memory."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0

    def read(self, size: int = -1, /) -> bytes:
        left = self._size - self._at
        size = min(left, MIB if size < 0 else size)
        self._at += size
        if not size:
            self._at = 0
        return bytes(size)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = (0, self._at, self._size)[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at
