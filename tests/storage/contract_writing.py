"""The part of the conformance suite about objects that come to be, or do not."""

from contextlib import suppress
from itertools import islice
from typing import ClassVar

import pytest

from storage.base import Storage
from storage.errors import IntegrityError, InvalidKey, ObjectNotFound, StorageError
from storage.keys import new_key, random_name
from tests.storage.material import (
    INVALID_KEYS,
    MIB,
    SIZES,
    content_of,
    cut,
    get,
    is_absent,
    keys_of,
    put,
    put_all,
)


class SourceError(Exception):
    """What a source of bytes raises in these tests."""


class WritingContract:
    """Tests over a `storage` fixture. `part_size` is where the backend begins to cut objects."""

    part_size: ClassVar[int] = 5 * MIB

    @pytest.mark.parametrize("key", INVALID_KEYS.values(), ids=INVALID_KEYS.keys())
    def test_a_key_of_another_form_is_refused_before_anything_happens(
        self, storage: Storage, key: str
    ) -> None:
        there = new_key()
        put(storage, there, b"there")
        for act in (
            lambda: put(storage, key, b"x"),
            lambda: get(storage, key),
            lambda: storage.stat(key),
            lambda: storage.delete(key),
            lambda: storage.copy(there, key),
            lambda: storage.copy(key, there),
            lambda: storage.copy(new_key(), key),
        ):
            with pytest.raises(InvalidKey):
                act()
        assert get(storage, there) == b"there"

    @pytest.mark.parametrize("name", ["0", "a" * 64])
    def test_the_shortest_and_the_longest_key_hold_an_object(
        self, storage: Storage, name: str
    ) -> None:
        put(storage, f"00/{name}", b"whole")
        assert get(storage, f"00/{name}") == b"whole"

    @pytest.mark.parametrize("size", SIZES.keys())
    def test_an_object_of_any_size_is_read_back_as_written(
        self, storage: Storage, size: str
    ) -> None:
        content = content_of(SIZES[size](self.part_size))
        key = new_key()
        info = put_all(storage, key, cut(content, 700_001))
        assert (info.key, info.size) == (key, len(content))
        assert get(storage, key) == content

    def test_one_write_may_be_larger_than_a_part(self, storage: Storage) -> None:
        content = content_of(2 * self.part_size + 7)
        key = new_key()
        assert put(storage, key, b"<", content, b">").size == len(content) + 2
        assert get(storage, key) == b"<" + content + b">"

    def test_an_object_without_a_single_write_is_empty(self, storage: Storage) -> None:
        key = new_key()
        assert put(storage, key).size == 0
        assert get(storage, key) == b""
        assert keys_of(storage, key) == [key]

    def test_any_buffer_is_written(self, storage: Storage) -> None:
        key = new_key()
        with storage.create(key, content_type="image/png") as writer:
            writer.write(b"bytes ")
            writer.write(bytearray(b"bytearray "))
            writer.write(memoryview(b"a view")[2:])
            writer.write(memoryview(bytearray(b" wide")).cast("B"))
            writer.write(b"")
            writer.commit()
        assert get(storage, key) == b"bytes bytearray view wide"

    def test_a_buffer_may_be_used_again_after_a_write(self, storage: Storage) -> None:
        content = content_of(self.part_size + 12_345)
        buffer = bytearray(100_003)
        key = new_key()
        with storage.create(key) as writer:
            for piece in cut(content, len(buffer)):
                buffer[: len(piece)] = piece
                writer.write(memoryview(buffer)[: len(piece)])
            buffer.clear()
            writer.commit()
        assert get(storage, key) == content

    def test_an_abandoned_object_leaves_nothing(self, storage: Storage) -> None:
        for size in (0, 1, self.part_size, 2 * self.part_size + 7):
            key = new_key()
            with storage.create(key) as writer:
                for piece in cut(content_of(size), MIB):
                    writer.write(piece)
                assert is_absent(storage, key)
            assert is_absent(storage, key)

    def test_a_source_that_fails_leaves_nothing(self, storage: Storage) -> None:
        for size in (0, 1, self.part_size + 1):
            key = new_key()
            with pytest.raises(SourceError), storage.create(key) as writer:
                writer.write(content_of(size))
                raise SourceError
            assert is_absent(storage, key)

    def test_an_object_stays_when_its_replacement_is_abandoned_or_fails(
        self, storage: Storage
    ) -> None:
        key = new_key()
        before = put(storage, key, b"old")
        with storage.create(key) as writer:
            writer.write(content_of(self.part_size + 1))
        with suppress(SourceError), storage.create(key) as writer:
            writer.write(b"new")
            raise SourceError
        assert get(storage, key) == b"old"
        assert storage.stat(key).etag == before.etag

    def test_a_writer_is_of_no_use_after_its_commit_or_its_end(self, storage: Storage) -> None:
        committed, left = new_key(), new_key()
        with storage.create(committed) as writer:
            writer.write(b"whole")
            writer.commit()
            for act in (lambda: writer.write(b"more"), writer.commit):
                with pytest.raises((StorageError, ValueError)):
                    act()
        with storage.create(left) as late:
            late.write(b"lost")
        for act in (lambda: late.write(b"more"), late.commit):
            with pytest.raises((StorageError, ValueError)):
                act()
        assert get(storage, committed) == b"whole"
        assert is_absent(storage, left)

    def test_an_error_after_the_commit_takes_nothing_back(self, storage: Storage) -> None:
        key = new_key()
        with pytest.raises(SourceError), storage.create(key) as writer:
            writer.write(b"whole")
            writer.commit()
            raise SourceError
        assert get(storage, key) == b"whole"

    def test_the_old_object_is_seen_until_the_commit(self, storage: Storage) -> None:
        key = new_key()
        put(storage, key, b"old")
        with storage.create(key) as writer:
            writer.write(content_of(self.part_size + 1))
            assert get(storage, key) == b"old"
            assert [info.size for info in storage.scan(key)] == [3]
            writer.commit()
            assert storage.stat(key).size == self.part_size + 1

    def test_a_larger_object_gives_way_to_a_smaller_one(self, storage: Storage) -> None:
        key = new_key()
        put(storage, key, content_of(self.part_size + 1))
        put(storage, key, b"small")
        assert get(storage, key) == b"small"
        assert storage.stat(key).size == 5

    def test_deleting_removes_an_object_and_may_be_repeated(self, storage: Storage) -> None:
        key = new_key()
        storage.delete(key)
        put(storage, key, b"one")
        storage.delete(key)
        storage.delete(key)
        assert is_absent(storage, key)
        with pytest.raises(ObjectNotFound):
            storage.open(key)
        put(storage, key, b"two")
        assert get(storage, key) == b"two"

    def test_a_copy_has_the_same_bytes_and_a_life_of_its_own(self, storage: Storage) -> None:
        for size in (0, 1, self.part_size + 1):
            source, target = new_key(), new_key()
            content = content_of(size)
            put(storage, source, content)
            info = storage.copy(source, target)
            assert (info.key, info.size) == (target, size)
            storage.delete(source)
            assert get(storage, target) == content
            assert storage.stat(target).etag == info.etag

    def test_a_copy_replaces_what_is_at_its_target(self, storage: Storage) -> None:
        source, target = new_key(), new_key()
        put(storage, source, b"new")
        put(storage, target, b"old, and longer")
        storage.copy(source, target)
        assert get(storage, target) == get(storage, source) == b"new"

    @pytest.mark.parametrize("size", [9, 70 * MIB])
    def test_only_the_version_that_was_looked_at_is_copied(
        self, storage: Storage, size: int
    ) -> None:
        source, target = new_key(), new_key()
        seen = put_all(storage, source, cut(content_of(size), MIB))
        assert storage.copy(source, target, etag=seen.etag).size == size
        assert get(storage, target, 0, 9) == content_of(size)[:9]
        put(storage, source, b"swapped, ", b"later")
        for untouched in (target, new_key()):
            with pytest.raises(IntegrityError):
                storage.copy(source, untouched, etag=seen.etag)
        assert is_absent(storage, untouched)
        assert storage.stat(target).size == size
        storage.delete(source)
        with pytest.raises(ObjectNotFound):
            storage.copy(source, target, etag=seen.etag)
        storage.delete(target)

    def test_a_copy_of_nothing_changes_nothing(self, storage: Storage) -> None:
        target = new_key()
        put(storage, target, b"old")
        with pytest.raises(ObjectNotFound):
            storage.copy(new_key(), target)
        assert get(storage, target) == b"old"

    def test_the_self_test_passes_and_leaves_nothing(self, storage: Storage) -> None:
        put(storage, f"zz/{random_name()}", b"there")
        before = keys_of(storage)
        storage.check()
        assert keys_of(storage) == before

    def test_a_scan_that_is_left_early_can_be_made_again(self, storage: Storage) -> None:
        prefix = new_key()
        keys = [prefix + tail for tail in "abc"]
        for key in keys:
            put(storage, key, b"x")
        assert [info.key for info in islice(storage.scan(prefix), 1)] == keys[:1]
        assert keys_of(storage, prefix) == keys
