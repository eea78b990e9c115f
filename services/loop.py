"""One event loop for each process, in a thread of its own.

Flask's stock bridge makes a new loop and a new thread pool for every asynchronous request, so no
client pool outlives a request. Here coroutines of all requests run on one loop, each in a copy of
its request's context. Nothing that blocks may run on it: that goes to `asyncio.to_thread`.
"""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from threading import Lock, Thread, current_thread
from typing import Any, TypeVar

T = TypeVar("T")


class EventLoop:
    """An event loop that starts when it is first used, which is after the fork."""

    def __init__(self, *, threads: int = 32) -> None:
        self._threads = threads
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the loop in a copy of this thread's context, and wait for it.

        Raises RuntimeError when called from the loop itself, which would wait for itself.
        """
        if current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("the event loop cannot wait for itself: await the coroutine")
        return self.start(coroutine).result()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin `coroutine` on the loop in a copy of this thread's context, and go on.

        Cancelling what is returned cancels the coroutine.
        """
        loop = self._running()
        outcome: Future[T] = Future()
        context = copy_context()

        def start() -> None:
            task = loop.create_task(coroutine, context=context)
            task.add_done_callback(lambda done: _pass_on(done, outcome))
            outcome.add_done_callback(lambda given_up: _cancel_with(given_up, task, loop))

        loop.call_soon_threadsafe(start)
        return outcome

    def close(self) -> None:
        """Stop the loop and its thread; it may be used again afterwards."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result(10)
        asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_default_executor(
                    ThreadPoolExecutor(self._threads, thread_name_prefix="loop")
                )
                self._thread = Thread(target=self._loop.run_forever, name="loop", daemon=True)
                self._thread.start()
            return self._loop


async def _end_tasks() -> None:
    """Cancel what still runs on the loop, and wait for it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _cancel_with(
    outcome: "Future[T]", task: "asyncio.Task[T]", loop: asyncio.AbstractEventLoop
) -> None:
    if outcome.cancelled():
        with suppress(RuntimeError):  # the loop is closed, and so nothing runs on it
            loop.call_soon_threadsafe(task.cancel)


def _pass_on(done: "asyncio.Task[T]", outcome: "Future[T]") -> None:
    """Give what came of a task to whoever waits for it, unless they gave up."""
    with suppress(InvalidStateError):
        if done.cancelled():
            outcome.cancel()
        elif error := done.exception():
            outcome.set_exception(error)
        else:
            outcome.set_result(done.result())
