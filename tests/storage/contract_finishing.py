"""The part of the suite of Resumable about what becomes an object, and what leaves nothing."""

from typing import ClassVar

import pytest

from storage.errors import IntegrityError, InvalidKey, ObjectNotFound
from storage.keys import new_key
from tests.storage.material import INVALID_KEYS, MIB, content_of, get, keys_of, put
from tests.storage.resuming import LARGEST, Left, OpenStore, ResumableStorage, Upload


class FinishingContract:
    """Tests over the fixtures of ResumingContract; `part_size` is as in AppendingContract."""

    part_size: ClassVar[int] = 5 * MIB

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
        self, open_store: OpenStore, storage: ResumableStorage, left: Left
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
        self, open_store: OpenStore, storage: ResumableStorage, left: Left
    ) -> None:
        for sizes in ((), (1,), (self.part_size + 1, 1, self.part_size)):
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
        self, open_store: OpenStore, storage: ResumableStorage, left: Left
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
        self, open_store: OpenStore, storage: ResumableStorage, left: Left
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
