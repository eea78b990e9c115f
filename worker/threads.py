"""gunicorn's threaded worker, with an end to every wait for a client.

gunicorn's own waits without end for the rest of a request's head, and for a client that does not
read its answer: each holds a thread. And it closes a connection gently (it half-closes, then drains
what still comes, so that the client can read the answer) in the thread that accepts for all, where
a client that neither sends nor leaves stops the worker for two seconds.

Told to end, it would let new connections queue where nobody takes them, and wait its whole time for
a client that has connected and says nothing.
"""

import gc
import json
import os
import select
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any, Final

from gunicorn import util
from gunicorn.workers.gthread import ThreadWorker

from worker.heads import END, MOST, PREFIXES

HEAD_WITHIN: Final = 20
"""Seconds that a client may take to send a head, or pause in it once a thread reads it."""

READ_WITHIN: Final = 120
"""Seconds that a client may take without reading any of its answer."""

LINGER: Final = 2.0
"""Seconds that a client has to read the last answer before the connection is closed."""

MOST_DRAINED: Final = 8 * 1024 * 1024
"""Bytes that it may still send meanwhile."""

AGAIN_AFTER: Final = 1.0
"""Seconds until a worker that did not start is followed by the next."""

STAY_MS: Final = 2
"""Milliseconds that a thread waits for its client's next request before it takes another's."""

MOST_IN_A_ROW: Final = 100
"""Requests of one connection that a thread answers before others have their turn."""

_TIMEVAL: Final = struct.Struct("@ll")


class ThreadedWorker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker. The application may have the connection closed, and ask how near the end
    of the worker is.
    """

    application: Any
    _told: float | None = None
    failed: dict[Any, Exception]
    """What went wrong with the request of a socket before its thread had it."""

    def load_wsgi(self) -> None:
        # Of what is made here hardly anything is garbage, and looking for it takes a third longer.
        gc.disable()
        try:
            super().load_wsgi()
        except Exception:
            # The master ends all workers when one says that it cannot boot. But the service did
            # start: what fails now, such as a database that is away, may work in a moment.
            self.log.exception("the worker did not start and is started again")
            time.sleep(AGAIN_AFTER)
            sys.exit(1)
        self.failed = {}
        self.application = application = self.wsgi

        def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
            environ["holdall.close_connection"] = start_response.__self__.force_close
            environ["holdall.ending"] = self.ending
            error = self.failed.pop(environ["gunicorn.socket"], None) if self.failed else None
            if error is not None:
                environ["holdall.failed"] = error
            return application(environ, start_response)

        self.wsgi: Any = wsgi
        # What the application is made of stays as long as the worker: no collection looks at it.
        gc.freeze()
        gc.enable()
        begin = getattr(application, "begin_background_work", None)
        if begin is not None:
            begin()

    def handle_exit(self, sig: int, frame: Any) -> None:
        if self._told is None:
            self._told = time.monotonic()
        super().handle_exit(sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """End at once: the interpreter itself would wait for each request's thread."""
        os._exit(0)

    def ending(self) -> float:
        """Return how much of its time to end the worker has used: 1 is all, 0 until it is told."""
        if self._told is None:
            return 0.0
        return (time.monotonic() - self._told) / float(max(self.cfg.graceful_timeout, 1))

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and self.alive)
        if not self.alive:
            for listener in self.sockets:
                self._take_those_in_line(listener)
                listener.close()

    def _take_those_in_line(self, listener: Any) -> None:
        """Accept whom the kernel has accepted already: they would be reset."""
        with suppress(OSError):
            while listener.sock is not None and self.takes(listener):
                pass

    def takes(self, listener: Any) -> bool:
        """Take the next client in line, and say whether there was one."""
        before = self.nr_conns
        self.accept(listener)
        return bool(self.nr_conns > before)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def handle(self, conn: Any) -> Any:
        if not conn.initialized:
            limit_waits(conn.sock)
        outcome = super().handle(conn)
        for _ in range(MOST_IN_A_ROW):
            if outcome is not True or not self.alive or not comes_soon(conn):
                break
            outcome = super().handle(conn)
        if outcome is False:
            linger(conn.sock)
        return outcome


def comes_soon(conn: Any) -> bool:
    """Say whether a kept-alive client sends its next request, or leaves, within a moment.

    Staying for it in the request's thread saves the way through the thread that accepts for all:
    two wake-ups and a hand-over, which cost more than a small answer itself. A request that may be
    answered without a thread is not stayed for, nor is one whose head has not come whole.
    """
    if early := conn.parser.unreader.buf.getvalue():
        return _is_for_a_thread(early)
    waiting = select.poll()
    waiting.register(conn.sock, select.POLLIN)
    if not waiting.poll(STAY_MS):
        return False
    try:
        return _is_for_a_thread(conn.sock.recv(MOST, socket.MSG_PEEK))
    except OSError:
        return False


def _is_for_a_thread(early: bytes) -> bool:
    """Say whether a request's head is there, whole, and not one that the loop may answer."""
    return END in early and not early.startswith(PREFIXES)


def write_error(connection: socket.socket, status: int, reason: str, message: str) -> None:
    """Answer what is no HTTP request in the shape of all errors; gunicorn's own is a page."""
    error = {"error": message or reason, "code": reason.lower().replace(" ", "_")}
    body = json.dumps(error).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(connection, head.encode("ascii") + body)


util.write_error = write_error


def limit_waits(connection: socket.socket) -> None:
    """Have the kernel end the waits of a blocking socket.

    A timeout of Python's own would make the socket non-blocking, and what the kernel sends of a
    file in one call would take a call for each bufferful.
    """
    for option, seconds in ((socket.SO_RCVTIMEO, HEAD_WITHIN), (socket.SO_SNDTIMEO, READ_WITHIN)):
        connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(seconds, 0))


def linger(connection: socket.socket) -> None:
    """Say goodbye, and let the client finish within bounds; the socket is then ready to close.

    A socket closed with unread bytes resets the connection, and the answer may be lost with it
    (RFC 9112 §9.6).
    """
    deadline = time.monotonic() + LINGER
    drained = 0
    try:
        connection.shutdown(socket.SHUT_WR)
        while drained < MOST_DRAINED and (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            piece = connection.recv(64 * 1024)
            if not piece:
                return
            drained += len(piece)
        # Whoever closes next finds the end of file at once instead of waiting for it.
        connection.shutdown(socket.SHUT_RD)
    except OSError:
        return
