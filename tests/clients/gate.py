"""A port that leads to one of several instances, as a load balancer's does, and can break off.

    with Gate(first.port) as gate:
        gate.after(1_000_000, gate.cut_all)     # the network is lost once so much was sent
        gate.target = second.port               # where new connections lead from now on

Knows nothing above TCP.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

from tests.support.relay import Listener, cut

_PIECE = 64 * 1024


class Gate(Listener):
    """A listener that passes connections on to `target`, a port of 127.0.0.1."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._counting = threading.Lock()
        self._sent = 0
        self._marks: list[tuple[int, Callable[[], None]]] = []
        super().__init__(self._pass_on)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def after(self, count: int, act: Callable[[], None]) -> None:
        """Have `act` done when `count` more bytes went to the service, and end that connection."""
        with self._counting:
            self._marks.append((self._sent + count, act))
            self._marks.sort(key=lambda mark: mark[0])

    def _pass_on(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.target), timeout=10) as service:
            service.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            service.settimeout(None)
            back = threading.Thread(target=_pass_back, args=(service, client), daemon=True)
            back.start()
            with contextlib.suppress(OSError):
                while piece := client.recv(_PIECE):
                    if not self._send(service, piece):
                        break
            for connection in (service, client):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            back.join()

    def _send(self, service: socket.socket, piece: bytes) -> bool:
        """Send a piece, or no more of it than up to the next mark; say whether to go on."""
        act = None
        with self._counting:
            if self._marks and self._marks[0][0] <= self._sent + len(piece):
                mark, act = self._marks.pop(0)
                piece = piece[: mark - self._sent]
            self._sent += len(piece)
        service.sendall(piece)
        if act is not None:
            act()
        return act is None


def _pass_back(service: socket.socket, client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := service.recv(_PIECE):
            client.sendall(piece)
    cut(client)
