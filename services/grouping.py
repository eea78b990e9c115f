"""What is asked for at the same moment, done in one go: each thread asks, one of them acts for all.

    do(a) ──▸ nobody acts: gather a moment ──▸ act(a, b, c) ──▸ hand on to d ──▸ a's outcome
    do(b) ──▸ wait ────────────────────────────▲                               b's outcome
    do(d) ──▸ wait ─────────────────────────────────────────────▸ act(d, …) …

It knows threads, and must not know what is done for whom.
"""

from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from threading import Lock
from typing import Final, Generic, TypeVar

Work = TypeVar("Work")

MOST: Final = 64
"""How much is done in one go."""

MOMENT: Final = 0.002
"""Seconds for which who acts waits for others at the most."""


class Overdue(Exception):
    """It was not the asker's turn in time, and nothing was done for it."""


def own(error: Exception) -> Exception:
    """Return a copy of an error that several are told, caused by it, where it can be copied.

    What is raised notes by which way it was, and each has a way of its own.
    """
    try:
        mine = copy(error)
    except Exception:
        return error
    if type(mine) is not type(error) or mine.args != error.args:
        return error
    mine.__cause__ = error
    return mine.with_traceback(None)


class _Asker(Generic[Work]):
    """Who waits, until `gate` opens: it is done then, or its turn to act for the others."""

    __slots__ = ("done", "error", "gate", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = False
        self.error: BaseException | None = None
        self.gate = Lock()
        self.gate.acquire()


class Grouping(Generic[Work]):
    """Do what comes in groups, one group at a time.

    `act` is given what was asked for, in order, and returns what went wrong with each, None where
    nothing did. What it raises has gone wrong with all of them. `patience` is how many seconds an
    asker waits for its turn at the most.

    Those who asked a moment ago are likely to be back in one. So who acts waits, for a MOMENT at
    the most, until there are as many as there were the last time; a single one never waits.
    """

    def __init__(
        self, act: Callable[[Sequence[Work]], Sequence[Exception | None]], *, patience: float
    ) -> None:
        self._act = act
        self._patience = patience
        self._lock = Lock()
        self._acting = False
        self._waiting: deque[_Asker[Work]] = deque()
        self._expected = 1
        self._enough: Lock | None = None

    def do(self, work: Work) -> None:
        """Return once it is done. Raises Overdue, or what went wrong."""
        mine = _Asker(work)
        with self._lock:
            self._waiting.append(mine)
            leads, self._acting = not self._acting, True
            if self._enough is not None and len(self._waiting) >= self._expected:
                self._enough.release()
                self._enough = None
        if not leads:
            self._wait(mine)
        if not mine.done:
            self._gather()
            self._lead(mine)
        if mine.error is not None:
            raise mine.error

    def _wait(self, mine: _Asker[Work]) -> None:
        if mine.gate.acquire(timeout=self._patience):
            return
        with self._lock:
            if mine.gate.acquire(blocking=False):
                return
            # Who was taken into a group has an outcome, and no longer a choice.
            if mine in self._waiting:
                self._waiting.remove(mine)
                raise Overdue
        mine.gate.acquire()

    def _gather(self) -> None:
        """Let those come who are expected."""
        with self._lock:
            if len(self._waiting) >= self._expected:
                return
            enough = self._enough = Lock()
            enough.acquire()
        enough.acquire(timeout=MOMENT)

    def _lead(self, mine: _Asker[Work]) -> None:
        """Act for all who wait, and hand on to who came meanwhile."""
        with self._lock:
            self._enough = None
            group = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        try:
            outcomes = self._act([each.work for each in group])
            for asker, error in zip(group, outcomes, strict=True):
                asker.error = error
        except BaseException as error:
            # What ends a thread ends that one alone.
            ended = RuntimeError("who acted for all has ended")
            for asker in group:
                asker.error = own(error if isinstance(error, Exception) else ended)
            if not isinstance(error, Exception):
                raise
        finally:
            self._hand_on(len(group))
            for asker in group:
                asker.done = True
                if asker is not mine:
                    asker.gate.release()

    def _hand_on(self, done: int) -> None:
        with self._lock:
            self._expected = min(done + len(self._waiting), MOST)
            if self._waiting:
                self._waiting[0].gate.release()
            else:
                self._acting = False
