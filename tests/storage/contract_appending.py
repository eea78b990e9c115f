"""The part of the suite of Resumable about the bytes that arrive, and those that do not count."""

from collections.abc import Callable
from itertools import accumulate
from typing import ClassVar

import pytest

from storage.errors import IntegrityError, StorageError
from tests.storage.contract_together import large_pieces
from tests.storage.material import MIB, content_of, cut, get
from tests.storage.resident import peak_growth
from tests.storage.resuming import Left, OpenStore, ResumableStorage, Upload


class AppendingContract:
    """Tests over the fixtures of ResumingContract.

    `part_size` is where the backend begins to cut objects. `memory_limit` is how many bytes the
    process may grow by while `large_size` bytes are appended; None says that the backend keeps
    objects in memory.
    """

    part_size: ClassVar[int] = 5 * MIB
    large_size: ClassVar[int] = 60 * MIB
    memory_limit: ClassVar[int | None] = 48 * MIB

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
        self, open_store: OpenStore, storage: ResumableStorage, left: Left
    ) -> None:
        part = self.part_size
        for size in (0, 1, part - 1, part, part + 1, 2 * part, 2 * part + 7):
            upload = Upload(open_store)
            assert upload.complete(*cut(content_of(size), MIB)).size == size
            assert get(storage, upload.key) == content_of(size)
            assert left() == [upload.key]
            storage.delete(upload.key)

    def test_the_end_may_be_told_without_a_byte(
        self, open_store: OpenStore, storage: ResumableStorage, left: Left
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
        for kept in (0, self.part_size + 5):
            upload = Upload(open_store)
            upload.append(content_of(kept))
            for dropped in (3, 2 * self.part_size + 1):
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
