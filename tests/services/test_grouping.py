"""Who asks at the same moment shares one act: nobody is forgotten, told twice, or kept waiting."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from sqlalchemy.exc import OperationalError

from services import grouping
from services.grouping import Grouping, Overdue, own


class Acts:
    """An act that waits until it is let go, and does what `then` says with each group."""

    def __init__(self, then: Callable[[Sequence[int]], Sequence[Exception | None]]) -> None:
        self.groups: list[list[int]] = []
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self._then = then

    def __call__(self, works: Sequence[int]) -> Sequence[Exception | None]:
        self.groups.append([*works])
        self.begun.release()
        assert self.go.acquire(timeout=10)
        return self._then(works)


def fine(works: Sequence[int]) -> Sequence[Exception | None]:
    return [None] * len(works)


def odd_ones_fail(works: Sequence[int]) -> Sequence[Exception | None]:
    return [ValueError(work) if work % 2 else None for work in works]


def asked(pool: ThreadPoolExecutor, group: Grouping[int], *works: int) -> list[Future[None]]:
    """Ask in threads, one after the other, while something else is being done."""
    futures = []
    for work in works:
        before = len(group._waiting)
        futures.append(pool.submit(group.do, work))
        while len(group._waiting) == before:
            pass
    return futures


def begun(pool: ThreadPoolExecutor, acts: Acts, group: Grouping[int], work: int) -> Future[None]:
    future = pool.submit(group.do, work)
    assert acts.begun.acquire(timeout=10)
    return future


def test_what_comes_meanwhile_is_done_in_one_go_and_each_is_told_its_own() -> None:
    acts = Acts(odd_ones_fail)
    group = Grouping(acts, patience=10)
    with ThreadPoolExecutor(8) as pool:
        futures = [begun(pool, acts, group, 0), *asked(pool, group, 1, 2, 3)]
        acts.go.release(2)
        failed = [type(future.exception(10)) for future in futures]
    assert acts.groups == [[0], [1, 2, 3]]
    assert failed == [type(None), ValueError, type(None), ValueError]


def test_what_goes_wrong_for_all_is_told_to_all_and_the_next_are_served() -> None:
    def fails(works: Sequence[int]) -> Sequence[Exception | None]:
        raise OSError("down")

    acts = Acts(fails)
    group = Grouping(acts, patience=10)
    acts.go.release(3)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(group.do, work) for work in range(3)]
        assert [type(future.exception(10)) for future in futures] == [OSError] * 3
    acts._then = fine
    acts.go.release()
    group.do(4)


def test_who_is_ended_ends_alone() -> None:
    def ends(works: Sequence[int]) -> Sequence[Exception | None]:
        if 0 not in works:
            raise SystemExit
        return fine(works)

    acts = Acts(ends)
    group = Grouping(acts, patience=10)
    with ThreadPoolExecutor(8) as pool:
        first, leads, follows = [begun(pool, acts, group, 0), *asked(pool, group, 1, 2)]
        acts.go.release(2)
        assert first.exception(10) is None
        assert isinstance(leads.exception(10), SystemExit)
        assert isinstance(follows.exception(10), RuntimeError)
    acts._then = fine
    acts.go.release()
    group.do(3)


def test_nothing_is_done_for_who_waited_too_long() -> None:
    acts = Acts(fine)
    group = Grouping(acts, patience=0.05)
    with ThreadPoolExecutor(8) as pool:
        first = begun(pool, acts, group, 0)
        (late,) = asked(pool, group, 1)
        assert isinstance(late.exception(10), Overdue)
        acts.go.release(2)
        assert first.exception(10) is None
    group.do(2)
    assert acts.groups == [[0], [2]]


def test_one_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MOMENT", 3600)
    group: Grouping[int] = Grouping(fine, patience=10)
    for work in range(3):
        group.do(work)


def test_as_many_as_a_moment_ago_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "MOMENT", 3600)
    acts = Acts(fine)
    group = Grouping(acts, patience=10)
    acts.go.release(100)
    with ThreadPoolExecutor(8) as pool:
        group._expected = 4
        for future in [pool.submit(group.do, work) for work in range(4)]:
            assert future.exception(10) is None
    assert [sorted(each) for each in acts.groups] == [[0, 1, 2, 3]]


def test_a_great_many_are_all_served() -> None:
    done: list[int] = []

    def act(works: Sequence[int]) -> Sequence[Exception | None]:
        done.extend(works)
        return odd_ones_fail(works)

    group = Grouping(act, patience=10)

    def ask(work: int) -> bool:
        try:
            group.do(work)
        except ValueError as error:
            return error.args == (work,)
        return work % 2 == 0

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(ask, range(3000)))
    assert sorted(done) == [*range(3000)]


def test_each_who_is_told_of_the_same_error_has_one_of_its_own() -> None:
    shared = OperationalError("COMMIT", {}, Exception("locked"))
    acts = Acts(lambda works: raised(shared))
    group = Grouping(acts, patience=10)
    with ThreadPoolExecutor(3) as pool:
        first = begun(pool, acts, group, 1)
        others = asked(pool, group, 2, 3)
        for _ in range(2):
            acts.go.release()
        told = [future.exception() for future in (first, *others)]
    assert len({*map(id, told), id(shared)}) == 4
    assert [(type(each), each and each.__cause__) for each in told] == [
        (OperationalError, shared)
    ] * 3


def raised(error: Exception) -> Sequence[Exception | None]:
    raise error


def test_an_error_that_cannot_be_copied_is_told_as_it_is() -> None:
    class Strange(Exception):
        def __init__(self, *, reason: str) -> None:
            super().__init__(reason)

    strange = Strange(reason="none")
    assert own(strange) is strange
