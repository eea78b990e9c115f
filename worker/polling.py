"""epoll(7) behind the calls that gunicorn makes of a selector: little between event and call.

It knows descriptors and what to call, and must not know connections.
"""

import select
from collections.abc import Callable
from typing import Any, Final

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT

Call = Callable[[Any], object]


class Poller:
    """What is to be called, and with what, when a descriptor is ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, tuple[Call, Any]] = {}

    def watch(self, file: Any, event: int, call: Call, subject: Any) -> None:
        """Have `call(subject)` made whenever `event` is there, or the other side is gone."""
        fd = _descriptor(file)
        self._epoll.register(fd, event)
        self._calls[fd] = (call, subject)

    def watch_for(self, file: Any, event: int) -> None:
        """Wait for another event of what is watched."""
        self._epoll.modify(_descriptor(file), event)

    def register(self, file: Any, _event: int, call: Call) -> None:
        """Have `call(file)` made whenever it can be read, which is all that gunicorn asks for."""
        self.watch(file, READ, call, file)

    def unregister(self, file: Any) -> None:
        """Wait for nothing more. Raises KeyError and OSError for what is not watched."""
        fd = _descriptor(file)
        del self._calls[fd]
        self._epoll.unregister(fd)

    def wait(self, timeout: float) -> list[int]:
        """Wait for so many seconds at most, and return what is ready."""
        return [fd for fd, _ in self._epoll.poll(timeout)]

    def serve(self, fd: int) -> None:
        """Make the call for a descriptor, unless it is no longer watched."""
        found = self._calls.get(fd)
        if found is not None:
            call, subject = found
            call(subject)

    def close(self) -> None:
        """Wait for nothing."""
        self._epoll.close()


def _descriptor(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())
