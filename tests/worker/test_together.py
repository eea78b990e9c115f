"""Requests that come while others are answered are answered together, or let go in time."""

import threading
import time
from collections.abc import Callable, Sequence
from queue import Queue
from typing import Any

import pytest

from worker import together
from worker.together import Together


class Loop:
    """A loop that does what was deferred when it is told to, and notes what was delivered."""

    def __init__(self, answer: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self.delivered: list[tuple[str, Any]] = []
        self._deferred: Queue[Any] = Queue()
        defer = lambda *call: self._deferred.put(call)  # noqa: E731
        self.together = Together[str](answer, defer, self._deliver)

    def _deliver(self, who: str, request: Any, outcome: Any) -> None:
        self.delivered.append((who, outcome))

    def turn(self) -> None:
        function, *given = self._deferred.get(timeout=10)
        function(*given)

    def add(self, names: str) -> None:
        for name in names:
            self.together.add(name, name.upper())
        self.together.start()


def test_those_who_come_meanwhile_are_next_and_all_get_their_own() -> None:
    groups, go = list[list[str]](), threading.Semaphore(0)

    def answer(requests: Sequence[str]) -> Sequence[str]:
        groups.append([*requests])
        go.acquire()
        return [request * 2 for request in requests]

    loop = Loop(answer)
    for names in ("a", "b", "cd"):
        loop.add(names)
    for _ in range(2):
        go.release()
        loop.turn()
    assert groups == [["A"], ["B", "C", "D"]]
    assert loop.delivered == [(name, name.upper() * 2) for name in "abcd"]
    loop.together.close()


def test_what_goes_wrong_with_all_is_told_to_all_and_the_next_are_served() -> None:
    error = RuntimeError()

    def answer(requests: Sequence[str]) -> Sequence[str]:
        if "A" in requests:
            raise error
        return requests

    loop = Loop(answer)
    for names in ("ab", "c"):
        loop.add(names)
        loop.turn()
    assert loop.delivered == [("a", error), ("b", error), ("c", "C")]
    loop.together.close()


def test_who_waits_too_long_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "WAITS", 0.01)
    go = threading.Event()
    loop = Loop(lambda requests: requests if go.wait(10) else [])
    loop.add("a")
    loop.add("b")
    time.sleep(0.02)
    loop.add("c")
    assert loop.delivered == [("b", None), ("c", None)]
    go.set()
    loop.turn()
    assert loop.delivered[2:] == [("a", "A")]
    loop.together.close()
