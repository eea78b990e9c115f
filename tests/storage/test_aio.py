"""Tests of what the asynchronous face adds: overlap, bounds, context, and cancelled tasks."""

import asyncio
import contextvars
import os
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.aio import AsyncStorage
from storage.errors import ObjectNotFound
from storage.local import LocalStorage
from storage.local_files import LocalBody, LocalWriter
from storage.memory import MemoryStorage
from tests.storage.material import MIB, content_of, put

KEY = "k7/k7object"
_SECONDS = 30


class Gate:
    """A place where threads wait, so that a test can act while they do."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def hold(self, monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> None:
        """Let each call of `method` wait here before it begins."""
        real = getattr(owner, method)

        def held(*arguments: object, **options: object) -> object:
            self._reached.set()
            assert self._opened.wait(_SECONDS)
            return real(*arguments, **options)

        monkeypatch.setattr(owner, method, held)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, _SECONDS)

    def open(self) -> None:
        self._opened.set()


@asynccontextmanager
async def face(
    storage: LocalStorage | MemoryStorage, limit: int = 4
) -> AsyncIterator[AsyncStorage]:
    asynchronous = AsyncStorage(storage, limit=limit)
    try:
        yield asynchronous
    finally:
        await asynchronous.close()


async def cancel(task: "asyncio.Task[Any]") -> None:
    """Cancel `task` and wait until it is gone."""
    task.cancel()
    await until_cancelled(task)


async def until_cancelled(task: "asyncio.Task[Any]") -> None:
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, _SECONDS)


def descriptors_left_by(work: Coroutine[Any, Any, None]) -> int:
    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(work)
    return len(os.listdir("/proc/self/fd")) - before


def local(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(tmp_path / "root", durable=False)
    put(storage, KEY, b"old")
    return storage


def files_in(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "root").rglob("*") if path.is_file()]


def test_waits_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(4)
    monkeypatch.setattr(MemoryStorage, "delete", lambda self, key: together.wait(_SECONDS))

    async def work() -> None:
        async with face(MemoryStorage()) as storage:
            await asyncio.gather(*(storage.delete(KEY) for _ in range(4)))

    asyncio.run(work())


def test_no_more_calls_run_at_once_than_the_limit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = threading.Lock()
    running = [0]
    most = [0]
    together = threading.Barrier(3)

    def delete(storage: MemoryStorage, key: str) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait(_SECONDS)
        with lock:
            running[0] -= 1

    monkeypatch.setattr(MemoryStorage, "delete", delete)

    async def work() -> None:
        async with face(MemoryStorage(), limit=3) as storage:
            await asyncio.gather(*(storage.delete(KEY) for _ in range(12)))

    asyncio.run(work())
    assert most == [3]


def test_a_call_sees_the_context_of_its_task(monkeypatch: pytest.MonkeyPatch) -> None:
    request = contextvars.ContextVar("request", default="none")
    seen = []
    monkeypatch.setattr(MemoryStorage, "delete", lambda self, key: seen.append(request.get()))

    async def work() -> None:
        async with face(MemoryStorage()) as storage:

            async def delete(name: str) -> None:
                request.set(name)
                await storage.delete(KEY)

            await asyncio.gather(*(delete(f"request {number}") for number in range(5)))

    asyncio.run(work())
    assert sorted(seen) == [f"request {number}" for number in range(5)]


def test_the_loop_goes_on_while_a_call_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.hold(monkeypatch, MemoryStorage, "delete")

    async def work() -> None:
        async with face(MemoryStorage()) as storage:
            waiting = asyncio.create_task(storage.delete(KEY))
            await gate.reached()
            with pytest.raises(ObjectNotFound):
                await storage.stat(KEY)
            assert not waiting.done()
            gate.open()
            await waiting

    asyncio.run(work())


def test_a_deadline_holds_although_the_store_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    gate.hold(monkeypatch, MemoryStorage, "check")

    async def work() -> None:
        async with face(MemoryStorage()) as storage:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(storage.check(), 0.05)
            gate.open()

    asyncio.run(work())


def test_a_cancelled_call_that_has_not_begun_never_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.hold(monkeypatch, LocalStorage, "stat")

    async def work() -> None:
        async with face(local(tmp_path), limit=1) as storage:
            blocking = asyncio.create_task(storage.stat(KEY))
            await gate.reached()
            deleting = asyncio.create_task(storage.delete(KEY))
            await asyncio.sleep(0)
            await cancel(deleting)
            gate.open()
            await blocking
            assert (await storage.stat(KEY)).size == 3

    asyncio.run(work())


def test_a_body_whose_task_was_cancelled_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    gate.hold(monkeypatch, LocalStorage, "open")
    storage = local(tmp_path)

    async def work() -> None:
        asynchronous = AsyncStorage(storage)
        opening = asyncio.create_task(asynchronous.open(KEY))
        await gate.reached()
        await cancel(opening)
        gate.open()
        await asynchronous.close()

    assert descriptors_left_by(work()) == -2  # the root's and the temporary folder's


def test_a_read_that_is_cancelled_ends_before_its_body_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    storage = local(tmp_path)
    put(storage, KEY, content_of(MIB))
    gate.hold(monkeypatch, LocalBody, "read")

    async def read(asynchronous: AsyncStorage) -> None:
        async with await asynchronous.open(KEY) as body:
            async for _ in body:
                pass

    async def work() -> None:
        asynchronous = AsyncStorage(storage)
        reading = asyncio.create_task(read(asynchronous))
        await gate.reached()
        reading.cancel()
        await asyncio.sleep(0.01)
        assert not reading.done()
        gate.open()
        await until_cancelled(reading)
        await asynchronous.close()

    assert descriptors_left_by(work()) == -2


@pytest.mark.parametrize("method", ["write", "commit"])
def test_a_cancelled_writer_leaves_the_old_object_or_the_new_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    gate = Gate()
    storage = local(tmp_path)
    gate.hold(monkeypatch, LocalWriter, method)

    async def write(asynchronous: AsyncStorage) -> None:
        async with asynchronous.create(KEY) as writer:
            await writer.write(b"newer")
            await writer.commit()

    async def work() -> None:
        asynchronous = AsyncStorage(storage)
        writing = asyncio.create_task(write(asynchronous))
        await gate.reached()
        writing.cancel()
        await asyncio.sleep(0.01)
        gate.open()
        await until_cancelled(writing)
        assert (await asynchronous.stat(KEY)).size == (5 if method == "commit" else 3)
        assert files_in(tmp_path) == ["k7object"]
        await asynchronous.close()

    assert descriptors_left_by(work()) == -2


def test_a_writer_cancelled_while_it_is_entered_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    storage = local(tmp_path)
    gate.hold(monkeypatch, LocalStorage, "create")

    async def write(asynchronous: AsyncStorage) -> None:
        async with asynchronous.create(KEY):
            raise AssertionError

    async def work() -> None:
        asynchronous = AsyncStorage(storage)
        writing = asyncio.create_task(write(asynchronous))
        await gate.reached()
        await cancel(writing)
        gate.open()
        await asynchronous.close()

    assert descriptors_left_by(work()) == -2
    assert files_in(tmp_path) == ["k7object"]


def test_a_writer_is_discarded_although_its_leaving_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    storage = local(tmp_path)
    gate.hold(monkeypatch, LocalStorage, "stat")

    async def write(
        asynchronous: AsyncStorage, written: asyncio.Event, blocked: asyncio.Event
    ) -> None:
        async with asynchronous.create(KEY) as writer:
            await writer.write(b"lost")
            written.set()
            await blocked.wait()

    async def work() -> None:
        asynchronous = AsyncStorage(storage, limit=1)
        written, blocked = asyncio.Event(), asyncio.Event()
        writing = asyncio.create_task(write(asynchronous, written, blocked))
        await written.wait()
        looking = asyncio.create_task(asynchronous.stat(KEY))
        await gate.reached()
        blocked.set()
        await asyncio.sleep(0.01)
        await cancel(writing)
        gate.open()
        await looking
        await asynchronous.close()

    assert descriptors_left_by(work()) == -2
    assert files_in(tmp_path) == ["k7object"]


def test_a_writer_is_used_in_its_block_only(tmp_path: Path) -> None:
    async def work() -> None:
        async with face(local(tmp_path)) as storage:
            writer = storage.create("zz/new")
            with pytest.raises(ValueError, match="async with"):
                await writer.write(b"early")
        assert files_in(tmp_path) == ["k7object"]

    asyncio.run(work())


def test_a_scan_fetches_batches_and_lets_its_folder_go(tmp_path: Path) -> None:
    storage = local(tmp_path)
    keys = [f"k8/{number:04}" for number in range(600)]
    for key in keys:
        put(storage, key, b"x")

    async def work() -> None:
        asynchronous = AsyncStorage(storage)
        assert [info.key async for info in asynchronous.scan("k8/")] == keys
        async with aclosing(asynchronous.scan()) as objects:
            assert (await anext(objects)).key == KEY
        await asynchronous.close()

    assert descriptors_left_by(work()) == -2
