"""A listening port of 127.0.0.1 whose connections are passed on to another port, byte by byte.

Knows nothing above TCP; a caller can wrap the accepted side (TLS) or take it over (faults).
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_PIECE = 256 * 1024


def cut(connection: socket.socket) -> None:
    """End a connection in both directions, waking whoever waits on it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class Listener:
    """A port that hands each connection to `serve` in a thread of its own.

    `stop` ends the listening and every open connection; `start` listens on the same port again.
    """

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listening: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self.port = 0
        self.start()

    def start(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = listening.getsockname()[1]
        self._listening = listening
        self._acceptor = threading.Thread(target=self._accept, args=(listening,), daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        listening, self._listening = self._listening, None
        if listening is None:
            return
        cut(listening)
        if self._acceptor:
            self._acceptor.join(5)
        self.cut_all()

    def cut_all(self) -> None:
        """End every open connection."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                self._serve(connection)
        finally:
            with self._lock:
                self._open.discard(connection)
            cut(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class Relay(Listener):
    """A listener that joins each connection, after `wrap`, to `target_port` of 127.0.0.1."""

    def __init__(
        self, target_port: int, *, wrap: Callable[[socket.socket], socket.socket] = lambda it: it
    ) -> None:
        self._target_port = target_port
        self._wrap = wrap
        super().__init__(self._join)

    def _join(self, connection: socket.socket) -> None:
        client = self._wrap(connection)
        try:
            with socket.create_connection(("127.0.0.1", self._target_port), timeout=10) as target:
                target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.settimeout(None)
                target.settimeout(None)
                back = threading.Thread(target=_pump, args=(target, client), daemon=True)
                back.start()
                _pump(client, target)
                back.join()
        finally:
            cut(client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until `source` ends, then end both: neither side keeps half a connection."""
    with contextlib.suppress(OSError):
        while piece := source.recv(_PIECE):
            sink.sendall(piece)
    for connection in (source, sink):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
