"""Who takes the next client: a worker with no more clients than the others have.

The kernel wakes every worker for a new client, and one that is awake takes all that come in the
next moment, so that the connections of a proxy or a pool, which stay, would all be one worker's.
So each writes how many it has where all see it, and one that has more leaves a new client to the
others for a moment. If none of them comes, it takes the client itself.

It knows numbers, and must not know sockets.
"""

import mmap
import sys
from typing import Final

SEATS: Final = 64
"""Workers that look at each other; more than so many take clients as they come."""

SLACK: Final = 8
"""A worker takes one who has as many clients as the others, and one more for each so many."""

LEFT_FOR: Final = 0.001
"""Seconds that a client is left to the others, the least that epoll_wait(2) can be told."""

LONG: Final = 5 * LEFT_FOR
"""Seconds after which it is another client that waits."""

MOST_AT_A_TIME: Final = 16
"""Clients taken between two that are left to the others."""

_FREE: Final = -1
_NOT_OPEN: Final = -2
_SIZE: Final = 4


class Board:
    """How many clients each worker has. Made before workers are forked, and shared by them."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SEATS * _SIZE)
        self._clients = memoryview(self._memory).cast("i")
        for number in range(SEATS):
            self._clients[number] = _FREE

    def seat(self) -> "Seat":
        """Return a seat for a worker that is forked then; one without a place if all are taken."""
        for number, clients in enumerate(self._clients):
            if clients == _FREE:
                self._clients[number] = _NOT_OPEN
                return Seat(self._clients, number)
        return Seat(None, 0)


class Seat:
    """A worker's own place on the board."""

    def __init__(self, clients: "memoryview[int] | None", number: int) -> None:
        self._clients = clients
        self._number = number
        self._left_at = 0.0
        self._in_vain = 0
        self._takes = 0

    def tell(self, clients: int) -> None:
        """Tell the others how many clients this worker has, and that it takes more."""
        if self._clients is not None:
            self._clients[self._number] = clients

    def close(self) -> None:
        """Tell the others that this worker takes nobody."""
        self.tell(_NOT_OPEN)

    def free(self) -> None:
        """Give the seat to the next worker that is started, once this one has ended."""
        self.tell(_FREE)

    def takes(self, clients: int, now: float) -> bool:
        """Say at the time `now`, in seconds, whether a worker with so many clients takes one more.

        If not, it is to ask again after LEFT_FOR. As long as clients wait then, the others have no
        time, and twice as many are taken as the time before.
        """
        if self._clients is None or clients <= self._most():
            return True
        if now > self._left_at + LONG:
            self._in_vain = self._takes = 0
        if self._takes:
            self._takes -= 1
            return True
        self._takes = min(1 << self._in_vain, MOST_AT_A_TIME)
        self._in_vain += 1
        self._left_at = now
        return False

    def _most(self) -> int:
        """Return how many clients one may have that takes another."""
        assert self._clients is not None
        others = [
            clients
            for number, clients in enumerate(self._clients)
            if clients >= 0 and number != self._number
        ]
        fewest = min(others, default=sys.maxsize)
        return fewest + fewest // SLACK
