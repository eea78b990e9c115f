"""The conformance suite of the capability Sweepable: run it over a backend that has it.

    class TestMySweeping(SweepingContract):
        @pytest.fixture(scope="class")
        @classmethod
        def open_store(cls) -> OpenSweepable:
            return lambda: MyStorage(...)

        @pytest.fixture
        def killed(self) -> Killed:
            return ...

It knows `storage.base` only, and must not know any backend.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from storage.capabilities import Leftover, Sweepable
from storage.keys import new_key
from tests.storage.material import content_of, get, keys_of, put
from tests.storage.resuming import ResumableStorage, Upload

DAY = timedelta(days=1)
SIZE = 300_000


class SweepableStorage(ResumableStorage, Sweepable, Protocol):
    """A storage with the capability."""


OpenSweepable = Callable[[], SweepableStorage]
"""Opens one store anew at each call, as the next process would."""

Killed = Callable[[str, int], None]
"""Has another process write so many bytes to a key of the store, and killed before the commit."""


class SweepingContract:
    """Everything that a backend promises of Sweepable, as tests over `open_store` and `killed`.

    The tests of Sweepable that a backend has on disks, links and dates are its own.
    """

    @pytest.fixture
    def storage(self, open_store: OpenSweepable) -> Iterator[SweepableStorage]:
        with closing(open_store()) as storage:
            yield storage
            self.swept(storage)

    def swept(self, storage: SweepableStorage, *, remove: bool = True) -> list[Leftover]:
        """Sweep everything that was left before tomorrow."""
        return list(storage.sweep(datetime.now(UTC) + DAY, remove=remove))

    def unfinished(self, storage: SweepableStorage) -> list[str]:
        return [left.name for left in storage.stale_unfinished(datetime.now(UTC) + DAY)]

    def test_writers_that_end_leave_nothing(self, storage: SweepableStorage) -> None:
        key = new_key()
        put(storage, key, content_of(SIZE))
        with storage.create(new_key()) as writer:
            writer.write(content_of(SIZE))
        assert self.swept(storage) == []
        assert get(storage, key) == content_of(SIZE)

    def test_what_a_killed_writer_left_is_found_and_removed_when_asked(
        self, storage: SweepableStorage, killed: Killed
    ) -> None:
        before, key = datetime.now(UTC) - timedelta(seconds=5), new_key()
        killed(key, SIZE)
        assert keys_of(storage, key) == []
        (left,) = self.swept(storage, remove=False)
        assert left.size == SIZE
        assert left.modified.utcoffset() == timedelta(0)
        assert before < left.modified < datetime.now(UTC) + timedelta(seconds=5)
        assert self.swept(storage) == [left]
        assert self.swept(storage) == []

    def test_what_was_written_later_stays(self, storage: SweepableStorage, killed: Killed) -> None:
        killed(new_key(), SIZE)
        assert list(storage.sweep(datetime.now(UTC) - DAY, remove=True)) == []
        assert len(self.swept(storage)) == 1

    def test_what_a_living_process_writes_stays_however_old_it_is(
        self, storage: SweepableStorage, open_store: OpenSweepable
    ) -> None:
        key = new_key()
        with closing(open_store()) as another, another.create(key) as writer:
            writer.write(content_of(SIZE))
            assert self.swept(storage) == []
            writer.commit()
        assert get(storage, key) == content_of(SIZE)

    def test_a_sweep_that_is_left_in_the_middle_goes_on_at_the_next(
        self, storage: SweepableStorage, killed: Killed
    ) -> None:
        for _ in range(2):
            killed(new_key(), SIZE)
        sweep = storage.sweep(datetime.now(UTC) + DAY, remove=True)
        first = next(sweep)
        sweep.close()  # type: ignore[attr-defined]
        (second,) = self.swept(storage)
        assert first.name != second.name

    def test_unfinished_objects_are_told_by_their_keys_and_stay(
        self, storage: SweepableStorage, open_store: OpenSweepable
    ) -> None:
        kept, ended, dropped = (Upload(open_store) for _ in range(3))
        for upload in (kept, ended, dropped):
            upload.append(content_of(SIZE))
        ended.complete(b"end")
        dropped.discard()
        assert self.swept(storage) == []
        assert self.unfinished(storage) == [kept.key]
        assert list(storage.stale_unfinished(datetime.now(UTC) - DAY)) == []
        kept.complete(b"end")
        assert self.unfinished(storage) == []
        assert get(storage, kept.key) == get(storage, ended.key) == content_of(SIZE) + b"end"

    def test_an_unfinished_object_is_discarded_by_the_key_that_was_told(
        self, storage: SweepableStorage, open_store: OpenSweepable
    ) -> None:
        lost = Upload(open_store)
        lost.append(content_of(SIZE))
        (left,) = storage.stale_unfinished(datetime.now(UTC) + DAY)
        assert (left.name, left.size) == (lost.key, SIZE)
        state = storage.start(left.name, content_type="text/plain", largest=0)
        storage.discard(left.name, state)
        assert self.unfinished(storage) == []

    def test_an_append_that_begins_meanwhile_is_not_refused(
        self, storage: SweepableStorage, open_store: OpenSweepable
    ) -> None:
        upload = Upload(open_store)
        upload.append(content_of(SIZE))
        told = storage.stale_unfinished(datetime.now(UTC) + DAY)
        assert next(told).name == upload.key
        upload.append(b"more")
        assert list(told) == []
        upload.discard()
