"""Wait for a client's bytes without being deaf: whoever waits can be told to stop.

gunicorn reads from a blocking socket. For the time of one body that socket is replaced, for those
who read it, by one that looks up from waiting several times a second.
"""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

TICK: Final = 0.25
"""Seconds between two looks up."""


class PatientSocket:
    """A socket whose reads call `idle` before and while they wait."""

    def __init__(self, socket: Any, idle: Callable[[], None], timeout: float) -> None:
        self._socket = socket
        self._idle = idle
        self._timeout = timeout
        self._poll = select.poll()
        self._poll.register(socket, select.POLLIN)

    def recv(self, size: int) -> bytes:
        self._wait()
        piece: bytes = self._socket.recv(size)
        return piece

    def recv_into(self, buffer: bytearray, size: int = 0, flags: int = 0) -> int:
        self._wait()
        count: int = self._socket.recv_into(buffer, size, flags)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def _wait(self) -> None:
        """Return when something can be read. Raises TimeoutError, and what `idle` raises."""
        self._idle()
        pending = getattr(self._socket, "pending", None)
        if pending is not None and pending():
            return
        deadline = time.monotonic() + self._timeout
        while not self._poll.poll(TICK * 1000):
            self._idle()
            if time.monotonic() > deadline:
                raise TimeoutError


@contextmanager
def patient(
    environ: dict[str, Any], socket: Any, idle: Callable[[], None], timeout: float
) -> Iterator[PatientSocket]:
    """Let gunicorn's own reader, too, read through a PatientSocket for the block."""
    waiting = PatientSocket(socket, idle, timeout)
    reader = getattr(environ["wsgi.input"], "reader", None)
    message = getattr(reader, "req", reader)
    unreader = getattr(message, "unreader", None)
    if unreader is None:
        yield waiting
        return
    unreader.sock = waiting
    try:
        yield waiting
    finally:
        unreader.sock = socket
