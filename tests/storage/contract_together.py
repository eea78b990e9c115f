"""The part of the conformance suite about many callers at once, many objects and large ones."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from storage.base import Storage
from storage.errors import StorageUnavailable
from storage.keys import new_key, random_name
from tests.storage.material import MIB, content_of, cut, get, is_absent, keys_of, put, put_all
from tests.storage.resident import peak_growth


class TogetherContract:
    """Tests over a `storage` fixture.

    `memory_limit` is how many bytes the process may grow by while `large_size` bytes are written
    and read; None says that the backend keeps objects in memory, as only one for tests may.
    """

    large_size: ClassVar[int] = 200 * MIB
    memory_limit: ClassVar[int | None] = 64 * MIB
    many: ClassVar[int] = 1001

    def test_one_of_many_writers_of_a_key_wins_whole(self, storage: Storage) -> None:
        key = new_key()
        contents = [bytes([number]) * (6 * MIB) for number in range(8)]
        all_written = threading.Barrier(len(contents))

        def write(content: bytes) -> None:
            try:
                with storage.create(key) as writer:
                    for piece in cut(content, MIB):
                        writer.write(piece)
                    all_written.wait(60)
                    writer.commit()
            except BaseException:
                all_written.abort()
                raise

        with ThreadPoolExecutor(len(contents)) as threads:
            list(threads.map(write, contents))
        assert get(storage, key) in contents
        assert keys_of(storage, key) == [key]

    def test_readers_see_the_old_object_or_the_new_one_whole(self, storage: Storage) -> None:
        key = new_key()
        contents = [bytes([number]) * (MIB + number) for number in range(12)]
        put(storage, key, contents[0])
        finished = threading.Event()

        def read() -> int:
            reads = 0
            while not finished.is_set() or not reads:
                try:
                    assert get(storage, key) in contents
                except StorageUnavailable:
                    continue
                reads += 1
            return reads

        with ThreadPoolExecutor(2) as threads:
            readers = [threads.submit(read) for _ in range(2)]
            try:
                for content in contents:
                    put(storage, key, content)
            finally:
                finished.set()
            assert all(reader.result() for reader in readers)
        assert get(storage, key) == contents[-1]

    def test_many_threads_may_use_one_storage(self, storage: Storage) -> None:
        def live(number: int) -> None:
            key, other = new_key(), new_key()
            content = content_of(50_000 + number)
            for _ in range(2):
                put(storage, key, content)
                storage.copy(key, other)
                assert get(storage, other, 10, 20) == content[10:20]
                assert [info.size for info in storage.scan(key)] == [len(content)]
                storage.delete(key)
                assert is_absent(storage, key)

        with ThreadPoolExecutor(16) as threads:
            list(threads.map(live, range(16)))

    def test_a_listing_of_many_objects_is_complete(self, storage: Storage) -> None:
        stem = f"mm/{random_name()}"
        keys = [f"{stem}{number:05}" for number in range(self.many)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda key: put(storage, key, key.encode()), reversed(keys)))
        listed = list(storage.scan(stem))
        assert [info.key for info in listed] == keys
        assert {info.size for info in listed} == {len(keys[0])}
        with ThreadPoolExecutor(4) as threads:
            for found in threads.map(lambda _: keys_of(storage, stem[:4]), range(4)):
                assert [key for key in found if key.startswith(stem)] == keys

    def test_a_large_object_passes_in_constant_memory(self, storage: Storage) -> None:
        key = new_key()
        with peak_growth() as growth:
            assert put_all(storage, key, large_pieces(self.large_size)).size == self.large_size
            expected = large_pieces(self.large_size)
            pending = b""
            with storage.open(key) as body:
                for piece in body:
                    while len(pending) < len(piece):
                        pending += next(expected)
                    assert pending.startswith(piece)
                    pending = pending[len(piece) :]
            assert not pending
            assert next(expected, None) is None
        storage.delete(key)
        assert self.memory_limit is None or growth.size < self.memory_limit


def large_pieces(size: int) -> Iterator[bytes]:
    """Yield `size` bytes, a MiB at a time, each beginning with its number."""
    block = content_of(MIB)
    for start in range(0, size, MIB):
        yield (start.to_bytes(8) + block[8:])[: size - start]
