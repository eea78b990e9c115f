"""The conformance suite of the capability Resumable: run it over a backend that has it.

    class TestMyResuming(ResumingContract):
        @pytest.fixture(scope="class")
        @classmethod
        def open_store(cls) -> OpenStore:
            return lambda: MyStorage(...)

Each append is made by a storage that was opened anew, from a state that went through JSON. It
knows `storage.base` only, and must not know any backend.
"""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.storage.contract_appending import AppendingContract
from tests.storage.contract_finishing import FinishingContract
from tests.storage.material import keys_of
from tests.storage.resuming import Left, OpenStore, ResumableStorage


class ResumingContract(AppendingContract, FinishingContract):
    """Everything that a backend promises of Resumable, as tests over an `open_store` fixture.

    A backend whose scan does not show what it keeps of unfinished objects gives a `hidden` too.
    """

    @pytest.fixture
    def storage(self, open_store: OpenStore) -> Iterator[ResumableStorage]:
        with closing(open_store()) as storage:
            yield storage

    @pytest.fixture(scope="class")
    @classmethod
    def hidden(cls) -> Left:
        """Return what the store holds of unfinished objects without a scan showing it."""
        return list

    @pytest.fixture
    def left(self, storage: ResumableStorage, hidden: Left) -> Left:
        """Return what has come to the store since the test began, seen by a scan or not."""
        before = {*keys_of(storage), *hidden()}
        return lambda: sorted({*keys_of(storage), *hidden()} - before)
