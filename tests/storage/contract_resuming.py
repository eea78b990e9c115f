"""The conformance suite of the capability Resumable: run it over a backend that has it.

    class TestMyResuming(ResumingContract):
        @pytest.fixture(scope="class")
        @classmethod
        def open_store(cls) -> OpenStore:
            return lambda: MyStorage(...)

Each append is made by a storage that was opened anew, from a state that went through JSON. It
knows `storage.base` only, and must not know any backend.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import accumulate
from typing import ClassVar

import pytest

from storage.errors import IntegrityError, InvalidKey, ObjectNotFound, StorageError
from storage.keys import new_key
from tests.storage.contract_together import large_pieces
from tests.storage.material import INVALID_KEYS, MIB, content_of, cut, get, keys_of, put
from tests.storage.resident import peak_growth
from tests.storage.resuming import LARGEST, OpenStore, ResumableStorage, Upload

Hidden = Callable[[], list[str]]


class ResumingContract:
    """Tests over an `open_store` fixture.

    `part_size` is where the backend begins to cut objects. `memory_limit` is how many bytes the
    process may grow by while `large_size` bytes are appended; None says that the backend keeps
    objects in memory.
    """

    part_size: ClassVar[int] = 5 * MIB
    large_size: ClassVar[int] = 60 * MIB
    memory_limit: ClassVar[int | None] = 48 * MIB

    @pytest.fixture
    def storage(self, open_store: OpenStore) -> Iterator[ResumableStorage]:
        with closing(open_store()) as storage:
            yield storage

    @pytest.fixture(scope="class")
    @classmethod
    def hidden(cls) -> Hidden:
        """Return what the store holds of unfinished objects without a scan showing it."""
        return list

    @pytest.fixture
    def left(self, storage: ResumableStorage, hidden: Hidden) -> Hidden:
        """Return what has come to the store since the test began, seen by a scan or not."""
        before = {*keys_of(storage), *hidden()}
        return lambda: sorted({*keys_of(storage), *hidden()} - before)

    # What arrives

    def test_many_appends_of_odd_sizes_make_one_object(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        part = self.part_size
        sizes = (1, 0, part - 1, 1, part, part + 1, 0, 2 * part + 7, part - 9, 3)
        content = content_of(sum(sizes))
        upload = Upload(open_store)
        for end, size in zip(accumulate(sizes), sizes, strict=True):
            upload.append(*cut(content[end - size : end], 700_001))
        info = upload.complete()
        assert (info.key, info.size) == (upload.key, len(content))
        assert get(storage, upload.key) == content
        assert storage.stat(upload.key).etag == info.etag

    def test_an_object_of_any_size_may_come_in_one_append(
        self, open_store: OpenStore, storage: ResumableStorage, left: Hidden
    ) -> None:
        part = self.part_size
        for size in (0, 1, part - 1, part, part + 1, 2 * part, 2 * part + 7):
            upload = Upload(open_store)
            assert upload.complete(*cut(content_of(size), MIB)).size == size
            assert get(storage, upload.key) == content_of(size)
            assert left() == [upload.key]
            storage.delete(upload.key)

    def test_the_end_may_be_told_without_a_byte(
        self, open_store: OpenStore, storage: ResumableStorage, left: Hidden
    ) -> None:
        for size in (0, 1, self.part_size, self.part_size + 1):
            upload = Upload(open_store)
            upload.append(content_of(size))
            assert upload.complete().size == size
            assert get(storage, upload.key) == content_of(size)
            assert left() == [upload.key]
            storage.delete(upload.key)

    def test_an_append_without_a_byte_changes_nothing(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        upload = Upload(open_store)
        for piece in (b"", b"one ", b"", b"two"):
            assert piece or not upload.append().superseded
            upload.append(piece)
        upload.complete()
        assert get(storage, upload.key) == b"one two"

    def test_a_buffer_may_be_used_again_after_a_write(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        content = content_of(self.part_size + 12_345)
        buffer = bytearray(100_003)
        upload = Upload(open_store)
        with storage.append(upload.key, upload.state, 0) as appender:
            for piece in cut(content, len(buffer)):
                buffer[: len(piece)] = piece
                appender.write(memoryview(buffer)[: len(piece)])
            buffer.clear()
            state = appender.complete().state
        storage.finish(upload.key, state, len(content))
        assert get(storage, upload.key) == content

    def test_unfinished_objects_do_not_mix(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        uploads = [Upload(open_store) for _ in range(3)]
        for _ in range(2):
            for number, upload in enumerate(uploads):
                upload.append(bytes([number]) * (self.part_size - 7))
        for number, upload in enumerate(uploads):
            upload.complete()
            assert get(storage, upload.key) == bytes([number]) * (2 * self.part_size - 14)

    def test_it_passes_in_constant_memory(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        upload = Upload(open_store)
        pieces = list(large_pieces(self.large_size))[:1]
        upload.append(pieces[0])
        with peak_growth() as growth:
            with storage.append(upload.key, upload.state, upload.size) as appender:
                for piece in large_pieces(self.large_size - MIB):
                    appender.write(piece)
                state = appender.complete().state
            assert storage.finish(upload.key, state, self.large_size).size == self.large_size
        assert get(storage, upload.key, MIB + 5, MIB + 2005) == pieces[0][5:2005]
        storage.delete(upload.key)
        assert self.memory_limit is None or growth.size < self.memory_limit

    # What does not count

    def test_bytes_that_were_not_kept_are_dropped(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        for kept in (0, 5, self.part_size + 5):
            upload = Upload(open_store)
            upload.append(content_of(kept))
            for dropped in (0, 3, self.part_size, 2 * self.part_size + 1):
                upload.abandon(*cut(bytes(dropped), MIB))
            upload.append(b"a little, ")
            with (
                pytest.raises(KeyError),
                storage.append(upload.key, upload.state, upload.size) as appender,
            ):
                appender.write(bytes(self.part_size))
                raise KeyError
            upload.complete(b"and the end")
            assert get(storage, upload.key) == content_of(kept) + b"a little, and the end"

    def test_an_append_whose_state_was_lost_is_made_again(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        """Who dies between keeping bytes and writing the state down leaves the old one."""
        upload = Upload(open_store)
        for size in (1, self.part_size, 7):
            for lost in (b"lost", bytes(self.part_size)):
                with storage.append(upload.key, upload.state, upload.size) as appender:
                    appender.write(lost)
                    appender.keep()
            upload.append(content_of(size))
        upload.complete()
        assert get(storage, upload.key) == b"".join(
            content_of(size) for size in (1, self.part_size, 7)
        )

    def test_another_offset_than_the_state_s_is_refused_and_changes_nothing(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        upload = Upload(open_store)
        for _ in range(2):
            upload.append(content_of(self.part_size))
            for wrong in (upload.size + 1, upload.size - 1, upload.size + self.part_size, 0):
                with pytest.raises(IntegrityError):
                    storage.append(upload.key, upload.state, wrong)
        upload.complete(b"end")
        assert get(storage, upload.key) == content_of(self.part_size) * 2 + b"end"

    def test_a_state_that_says_nothing_is_refused(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        upload = Upload(open_store)
        with pytest.raises(StorageError):
            storage.append(upload.key, upload.state | {"sizes": []}, 0)

    def test_an_appender_is_of_no_use_after_its_end(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        upload = Upload(open_store)
        with storage.append(upload.key, upload.state, 0) as kept:
            kept.write(b"whole")
            state = kept.keep().state
            self.require_useless(kept.write, kept.keep, kept.complete)
        upload.write_down(state)
        upload.size = 5
        with storage.append(upload.key, state, 5) as abandoned:
            abandoned.write(b"lost")
        self.require_useless(abandoned.write, abandoned.keep, abandoned.complete)
        upload.complete()
        assert get(storage, upload.key) == b"whole"

    @staticmethod
    def require_useless(
        write: Callable[[bytes], None], keep: Callable[[], object], complete: Callable[[], object]
    ) -> None:
        for act in (lambda: write(b"more"), keep, complete):
            with pytest.raises((StorageError, ValueError)):
                act()

    # When it becomes an object

    @pytest.mark.parametrize("key", INVALID_KEYS.values(), ids=INVALID_KEYS.keys())
    def test_a_key_of_another_form_is_refused(self, storage: ResumableStorage, key: str) -> None:
        with pytest.raises(InvalidKey):
            storage.start(key, content_type="text/plain", largest=LARGEST)

    @pytest.mark.parametrize("name", ["0", "a" * 64])
    def test_the_shortest_and_the_longest_key_hold_an_object(
        self, open_store: OpenStore, storage: ResumableStorage, name: str
    ) -> None:
        upload = Upload(open_store, f"00/{name}")
        upload.append(b"in two ")
        upload.complete(b"pieces")
        assert get(storage, f"00/{name}") == b"in two pieces"

    def test_nothing_is_seen_at_the_key_before_the_finish(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        upload = Upload(open_store)
        for size, complete in ((3, False), (self.part_size, False), (4, True)):
            self.require_unseen(storage, upload.key)
            upload.append(content_of(size), complete=complete)
        self.require_unseen(storage, upload.key)
        upload.finish()
        assert upload.key in keys_of(storage, upload.key)

    @staticmethod
    def require_unseen(storage: ResumableStorage, key: str) -> None:
        assert key not in keys_of(storage, key)
        with pytest.raises(ObjectNotFound):
            storage.stat(key)

    def test_a_finish_may_be_repeated(
        self, open_store: OpenStore, storage: ResumableStorage, left: Hidden
    ) -> None:
        for size in (0, 10, self.part_size, self.part_size + 10):
            upload = Upload(open_store)
            upload.append(content_of(size), complete=True)
            first = upload.finish()
            second = upload.finish()
            assert (second.key, second.size) == (first.key, first.size) == (upload.key, size)
            assert get(storage, upload.key) == content_of(size)
            assert left() == [upload.key]
            storage.delete(upload.key)

    def test_a_finish_with_another_size_makes_nothing_and_breaks_nothing(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        for size in (0, 10, self.part_size + 10):
            upload = Upload(open_store)
            upload.append(content_of(size), complete=True)
            for wrong in (size + 1, size + self.part_size):
                with pytest.raises(IntegrityError):
                    upload.finish(wrong)
                self.require_unseen(storage, upload.key)
            upload.finish()
            assert get(storage, upload.key) == content_of(size)

    def test_only_a_complete_object_is_finished_and_it_takes_no_more(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        upload = Upload(open_store)
        upload.append(content_of(self.part_size + 1))
        with pytest.raises(ValueError, match="complete"):
            upload.finish()
        upload.append(complete=True)
        with pytest.raises(ValueError, match="complete"):
            upload.append(b"more")
        upload.finish()
        assert get(storage, upload.key) == content_of(self.part_size + 1)

    # When it becomes none

    def test_a_discard_at_any_time_leaves_nothing(
        self, open_store: OpenStore, storage: ResumableStorage, left: Hidden
    ) -> None:
        for sizes in ((), (1,), (self.part_size,), (self.part_size + 1, 1, self.part_size)):
            for complete in (False, True):
                upload = Upload(open_store)
                for size in sizes:
                    upload.append(content_of(size))
                if complete:
                    upload.append(b"end", complete=True)
                for _ in range(2):
                    upload.discard()
                    assert left() == []
                self.require_gone(upload)

    @staticmethod
    def require_gone(upload: Upload) -> None:
        if upload.state.get("complete"):
            with pytest.raises(ObjectNotFound):
                upload.finish()
        elif upload.size:
            with pytest.raises(ObjectNotFound):
                upload.append(b"more")

    def test_a_discard_finds_what_was_never_kept_or_written_down(
        self, open_store: OpenStore, storage: ResumableStorage, left: Hidden
    ) -> None:
        for kept in (0, 3):
            upload = Upload(open_store)
            upload.append(bytes(kept))
            for size in (1, self.part_size, self.part_size + 1):
                upload.abandon(content_of(size))
                with storage.append(upload.key, upload.state, kept) as appender:
                    appender.write(content_of(size))
                    appender.keep()
            upload.discard()
            assert left() == []

    def test_a_finish_leaves_nothing_of_what_was_lost_on_the_way(
        self, open_store: OpenStore, storage: ResumableStorage, left: Hidden
    ) -> None:
        upload = Upload(open_store)
        with storage.append(upload.key, upload.state, 0) as appender:
            appender.write(content_of(self.part_size + 9))
            appender.keep()
        upload.complete(content_of(2 * self.part_size))
        assert left() == [upload.key]
        assert get(storage, upload.key) == content_of(2 * self.part_size)

    def test_a_discard_leaves_a_finished_object_alone(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        for size in (0, 10, self.part_size + 10):
            upload = Upload(open_store)
            upload.complete(content_of(size))
            upload.discard()
            assert get(storage, upload.key) == content_of(size)

    def test_other_objects_are_left_alone(
        self, open_store: OpenStore, storage: ResumableStorage
    ) -> None:
        other = new_key()
        put(storage, other, b"other")
        for end in (Upload.complete, Upload.discard):
            upload = Upload(open_store)
            upload.append(content_of(self.part_size + 1))
            end(upload)
        assert get(storage, other) == b"other"
