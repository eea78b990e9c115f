"""gunicorn's threaded worker, made to close connections without holding up the others.

gunicorn closes a connection gently (it half-closes, then drains what the client still sends, so
that the client can read the answer), but does so in the thread that accepts for all: a client that
neither sends nor leaves stops the worker for two seconds. Here it is done in the request's thread.
"""

import socket
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

LINGER = 2.0
"""Seconds that a client has to read the last answer, and MOST_DRAINED the bytes it may send."""
MOST_DRAINED = 8 * 1024 * 1024


class Worker(ThreadWorker):  # type: ignore[misc]
    """A threaded worker whose application may ask for the connection to be closed."""

    def load_wsgi(self) -> None:
        super().load_wsgi()
        application: Any = self.wsgi

        def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
            environ["holdall.close_connection"] = start_response.__self__.force_close
            return application(environ, start_response)

        self.wsgi: Any = wsgi

    def handle(self, conn: Any) -> Any:
        outcome = super().handle(conn)
        if outcome is False:
            linger(conn.sock)
        return outcome


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
