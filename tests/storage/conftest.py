"""What the tests of storage share: an event loop in a thread."""

from collections.abc import Iterator

import pytest

from tests.storage.synced import LoopThread


@pytest.fixture(scope="session")
def loop_thread() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()
