"""The part of the conformance suite about looking objects up, reading and listing them."""

from datetime import UTC, datetime, timedelta

import pytest

from storage.base import CHUNK_SIZE, Storage
from storage.errors import ObjectNotFound, StorageUnavailable
from storage.keys import new_key, random_name
from tests.storage.material import MIB, content_of, get, keys_of, put, put_all


class ReadingContract:
    """Tests over a `storage` fixture."""

    @pytest.mark.parametrize(
        ("start", "stop"),
        [
            (0, None),
            (0, 0),
            (0, 1),
            (1, 1),
            (1, 2),
            (CHUNK_SIZE - 1, CHUNK_SIZE + 1),
            (CHUNK_SIZE, None),
            (CHUNK_SIZE + 41, CHUNK_SIZE + 42),
            (CHUNK_SIZE + 41, None),
            (CHUNK_SIZE + 42, None),
            (CHUNK_SIZE + 42, CHUNK_SIZE + 42),
            (CHUNK_SIZE + 41, CHUNK_SIZE + 1000),
            (CHUNK_SIZE + 43, None),
            (CHUNK_SIZE + 1000, CHUNK_SIZE + 2000),
            (0, 2**62),
            (2**62, None),
        ],
    )
    def test_a_range_is_the_slice_of_the_bytes(
        self, storage: Storage, start: int, stop: int | None
    ) -> None:
        content = content_of(CHUNK_SIZE + 42)
        key = new_key()
        put(storage, key, content)
        assert get(storage, key, start, stop) == content[start:stop]
        with storage.open(key, start, stop) as body:
            assert body.info.size == len(content)

    def test_a_range_of_an_empty_object_is_empty(self, storage: Storage) -> None:
        key = new_key()
        put(storage, key)
        for start, stop in ((0, None), (0, 0), (0, 10), (5, None), (5, 10)):
            assert get(storage, key, start, stop) == b""

    @pytest.mark.parametrize(("start", "stop"), [(-1, None), (-3, -1), (0, -1), (2, 1)])
    def test_a_range_that_runs_backwards_is_refused(
        self, storage: Storage, start: int, stop: int | None
    ) -> None:
        key = new_key()
        put(storage, key, b"content")
        with pytest.raises(ValueError, match="range"):
            storage.open(key, start, stop)

    def test_what_is_not_there_is_missed_when_it_is_opened(self, storage: Storage) -> None:
        for key in (new_key(), f"zz/{random_name()}"):
            for act in (
                lambda key=key: storage.open(key),
                lambda key=key: storage.open(key, 5, 5),
                lambda key=key: storage.stat(key),
            ):
                with pytest.raises(ObjectNotFound) as raised:
                    act()
                assert isinstance(raised.value, FileNotFoundError)

    def test_a_body_offers_its_plain_file_or_none(self, storage: Storage) -> None:
        key = new_key()
        put(storage, key, b"0123456789")
        with storage.open(key, 3, 7) as body:
            assert body.file is None or body.file.read(body.size) == b"3456"

    def test_a_body_may_be_left_early_and_closed_twice(self, storage: Storage) -> None:
        key = new_key()
        put(storage, key, content_of(4 * CHUNK_SIZE))
        body = storage.open(key)
        assert next(iter(body)) == content_of(4 * CHUNK_SIZE)[:CHUNK_SIZE]
        body.close()
        body.close()
        storage.open(key).close()
        assert body.file is None or body.file.closed

    def test_every_method_says_the_same_of_an_object(self, storage: Storage) -> None:
        key = new_key()
        made = put(storage, key, b"content")
        with storage.open(key) as body:
            opened = body.info
        (listed,) = storage.scan(key)
        for info in (made, storage.stat(key), opened, listed):
            assert (info.key, info.size, info.etag) == (key, 7, made.etag)
            assert info.etag and '"' not in info.etag
            assert info.modified.utcoffset() == timedelta(0)
            assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=1)

    def test_the_tag_changes_with_the_bytes(self, storage: Storage) -> None:
        key = new_key()
        tags = {put(storage, key, b"%d" % number).etag for number in range(5)}
        assert len(tags) == 5

    def test_a_body_that_loses_its_object_ends_whole_or_raises(self, storage: Storage) -> None:
        content = content_of(6 * MIB)
        for interfere in (storage.delete, lambda key: put(storage, key, b"new")):
            key = new_key()
            put(storage, key, content)
            with storage.open(key) as body:
                pieces = iter(body)
                got = [next(pieces)]
                interfere(key)
                try:
                    got.extend(pieces)
                except StorageUnavailable:
                    continue
            assert b"".join(got) == content

    def test_a_scan_is_in_order_of_key(self, storage: Storage) -> None:
        stem = random_name()[:10]
        names = [
            stem + tail for tail in ("", "0", "00", "09", "1", "9", "a", "a0", "aa", "z", "zz")
        ]
        keys = [
            f"{shard}/{name}" for shard in ("00", "0a", "9z", "a0", "aa", "zz") for name in names
        ]
        for key in sorted(keys, key=lambda key: key[::-1]):
            put(storage, key, b"x")
        found = keys_of(storage)
        assert found == sorted(set(found))
        assert [key for key in found if stem in key] == sorted(keys)

    def test_a_prefix_may_be_any_leading_part_of_a_key(self, storage: Storage) -> None:
        stem = random_name()[:10]
        keys = [f"{shard}/{stem}{tail}" for shard in ("4x", "4y", "5x") for tail in ("", "a", "b")]
        for key in keys:
            put(storage, key, b"x")
        every = keys_of(storage)
        for prefix in ("", "4", "4y", "4y/", f"4y/{stem[:4]}", f"4y/{stem}", f"4y/{stem}a", "5"):
            assert keys_of(storage, prefix) == [key for key in every if key.startswith(prefix)]
        assert keys_of(storage, f"4y/{stem}") == keys[3:6]

    @pytest.mark.parametrize("prefix", ["/", "..", "../", ".tmp", "4y/.", "4Y", "4y/a/", "a" * 70])
    def test_a_prefix_that_no_key_has_finds_nothing(self, storage: Storage, prefix: str) -> None:
        put(storage, new_key(), b"x")
        assert keys_of(storage, prefix) == []

    def test_a_scan_does_not_show_what_is_being_written(self, storage: Storage) -> None:
        key = new_key()
        with storage.create(key) as writer:
            writer.write(content_of(6 * MIB))
            assert key not in keys_of(storage)
            writer.commit()
        assert key in keys_of(storage)

    def test_content_written_in_single_bytes_is_read_in_order(self, storage: Storage) -> None:
        content = content_of(1000)
        key = new_key()
        put_all(storage, key, (content[at : at + 1] for at in range(len(content))))
        assert get(storage, key) == content
