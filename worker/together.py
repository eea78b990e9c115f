"""Small requests that are answered together: those that come while a thread is at others wait,
and are then its next ones.

    the loop ──▸ add, start, add … ──▸ the thread: answer all ──▸ the loop: an outcome for each
                   ▲                                                 │
                   └──────────── what has come meanwhile ◂───────────┘

Who has waited too long gets None for an outcome, and nothing was done for it. It knows threads, and
must not know connections nor what is asked.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from typing import Any, Final, Generic, Protocol, TypeVar

Who = TypeVar("Who")

AT_ONCE: Final = 64
"""Requests that are answered together at the most."""

MOMENT: Final = 0.002
"""Seconds for which the thread waits for others at the most."""

WAITS: Final = 0.5
"""Seconds that a request waits for those before it, where they are slow."""


class Gate(Protocol):
    """A lock, closed until there are enough."""

    def acquire(self, *, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...


class Together(Generic[Who]):
    """Have requests answered in one thread. All but the answering happens in the loop.

    `answer` is given requests in order, and returns an outcome for each. What it raises is the
    outcome of all of them. `defer` has the loop call a function, and `deliver` is called there.

    Those who asked a moment ago are likely to be back in one. So the thread waits, for a MOMENT at
    the most, until there are as many as there were the last time; for a single one it never waits.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Any]], Sequence[Any]],
        defer: Callable[..., None],
        deliver: Callable[[Who, Any, Any], None],
    ) -> None:
        self._answer = answer
        self._defer = defer
        self._deliver = deliver
        self._waiting: deque[tuple[Who, Any]] = deque()
        self._began = 0.0
        self._expected = 1
        self._gate: Gate | None = None
        self._busy = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="together")

    def add(self, who: Who, request: Any) -> None:
        """Take in a request; `start` is to be called when no more are at hand."""
        self._waiting.append((who, request))
        if self._gate is not None and len(self._waiting) >= self._expected:
            self._gate.release()
            self._gate = None

    def start(self) -> None:
        """Begin with those that wait, unless the thread is at others; these may take too long."""
        if not self._waiting:
            return
        if self._busy:
            while self._waiting and time.monotonic() - self._began > WAITS:
                self._deliver(*self._waiting.popleft(), None)
            return
        self._busy, self._began = True, time.monotonic()
        if len(self._waiting) < self._expected:
            self._gate = Lock()
            self._gate.acquire()
        self._thread.submit(self._run, self._gate)

    def close(self) -> None:
        """Begin with no more."""
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, gate: "Gate | None") -> None:
        if gate is not None:
            gate.acquire(timeout=MOMENT)
        group: list[tuple[Who, Any]] = []
        with suppress(IndexError):
            while len(group) < AT_ONCE:
                group.append(self._waiting.popleft())
        try:
            outcomes = self._answer([request for _, request in group])
        except Exception as error:
            outcomes = [error] * len(group)
        self._defer(self._done, group, outcomes)

    def _done(self, group: Sequence[tuple[Who, Any]], outcomes: Sequence[Any]) -> None:
        self._busy, self._gate = False, None
        self._expected = min(len(group) + len(self._waiting), AT_ONCE)
        for (who, request), outcome in zip(group, outcomes, strict=True):
            self._deliver(who, request, outcome)
        self.start()
