"""Hold connections in one thread: whoever comes, waits, or has waited too long.

What is done with a connection that is ready is `advance`, which `worker.front` has. This module
must not know requests.
"""

import errno
import socket
import time
from abc import abstractmethod
from contextlib import suppress
from math import inf
from typing import Any, Final

from gunicorn.workers.gthread import TConn

from worker.polling import Poller
from worker.sending import Sending
from worker.sharing import LEFT_FOR, Board
from worker.threads import ThreadedWorker

LOOKED_AT: Final = 1.0
"""Seconds between two looks for connections whose time is over."""

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What accept(2) says when there is no room for another client."""

EVICTED: Final = 64
"""Idle connections that are closed at a time where there is no room for a new one."""

BOARD: Final = Board()
"""Made by the process that all workers are forked from."""


class Connection(TConn):  # type: ignore[misc]
    """A client's connection, and what the loop knows of it.

    `early` are bytes that came and are not answered yet, `in_head` says that they are a head whose
    end has not come, and `drained` is how many were thrown away since the last answer. `deadline`
    is when the loop gives the connection up. `failed` is what went wrong with the request in
    another way than that of the thread that it is handed to.
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.data_ready = True
        self.early = b""
        self.in_head = False
        self.sending: Sending | None = None
        self.drained: int | None = None
        self.deadline = inf
        self.waits_for = 0
        self.failed: Exception | None = None

    @property
    def is_idle(self) -> bool:
        """Say whether no whole request is under way."""
        return (self.in_head or not self.early) and self.sending is None and self.drained is None

    def unread(self) -> None:
        """Give gunicorn's parser what has come."""
        self.init()
        early, self.early = self.early, b""
        self.parser.unreader.unread(early)


class HoldingWorker(ThreadedWorker):
    """A threaded worker with a loop that holds the connections which no thread has."""

    alive: bool

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seat = BOARD.seat()

    def init_process(self) -> None:
        self.held: set[Connection] = set()
        self.now = self._next_look = self._accepts_at = time.monotonic()
        self.keepalive = float(self.cfg.keepalive)
        super().init_process()

    def run(self) -> None:
        self.poller.close()
        self.poller: Poller = Poller()
        # Threads that outlive the loop still write there: it must not become another file's number.
        self.method_queue.close = lambda: None
        super().run()

    def begin_turn(self) -> None:
        """Have what is done next see all that others had done before this call."""

    def end_turn(self) -> None:
        """Do what is done once for all that were ready at the same time."""

    @abstractmethod
    def advance(self, conn: Connection) -> None:
        """Do what a connection is ready for. What is raised ends the connection."""

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what all that is ready is ready for; the time is read once for all of it."""
        if self.alive:
            self.seat.tell(self.nr_conns)
        else:
            self.seat.close()
        ready = self.poller.wait(min(timeout, max(self._accepts_at - self.now, 0) or timeout))
        self.now = time.monotonic()
        self.begin_turn()
        try:
            for fd in ready:
                self.poller.serve(fd)
        finally:
            self.end_turn()

    def accept(self, listener: Any) -> None:
        self.takes(listener)

    def takes(self, listener: Any) -> bool:
        """Take the next client in line, and say whether there was one."""
        if self.alive and not self.seat.takes(self.nr_conns, self.now):
            self._pause(LEFT_FOR)
            return False
        if self.cfg.is_ssl:
            return super().takes(listener)
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self.log.warning("no client is accepted for a moment: %s", error.strerror)
                self._evict()
                self._pause(LOOKED_AT)
                return False
            return error.errno not in (errno.EAGAIN, errno.EBADF, errno.EINVAL)
        self.nr_conns += 1
        conn = Connection(self.cfg, client, address, listener.getsockname())
        conn.deadline = self.now + self.keepalive
        self.held.add(conn)
        # Its request may have come after the turn began.
        self.begin_turn()
        self._on_event(conn)
        return True

    def _pause(self, seconds: float) -> None:
        """Take nobody for a moment."""
        self._accepts_at = time.monotonic() + seconds
        self.set_accept_enabled(False)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and time.monotonic() >= self._accepts_at)

    def _on_event(self, conn: Connection) -> None:
        self.guarded(self.advance, conn)

    def guarded(self, step: Any, conn: Connection, *more: Any) -> None:
        """Take a step with a connection that the loop has; it is gone if the client is."""
        if conn not in self.held:
            return
        try:
            step(conn, *more)
        except OSError as error:
            if error.errno == errno.EIO:
                self.log.error("an answer was cut short: %s", error.strerror)
            self.drop(conn)
        except Exception:
            self.log.exception("a connection is given up")
            self.drop(conn)

    def wait(self, conn: Connection, event: int, seconds: float | None = None) -> None:
        """Have the poller look for `event`, 0 for none, for so many seconds from now."""
        if seconds is not None:
            conn.deadline = self.now + seconds
        if conn.waits_for == event:
            return
        if not conn.waits_for:
            self.poller.watch(conn.sock, event, self._on_event, conn)
        elif not event:
            self.poller.unregister(conn.sock)
        else:
            self.poller.watch_for(conn.sock, event)
        conn.waits_for = event

    def drop(self, conn: Connection) -> None:
        """Close a connection that the loop has."""
        self.held.discard(conn)
        with suppress(OSError, KeyError, ValueError):
            self.wait(conn, 0)
        if conn.sending is not None:
            conn.sending.close()
        self.nr_conns -= 1
        conn.close()

    def murder_keepalived(self, force: bool = False) -> None:
        """Close what has waited too long, all if forced, and idle ones where there is no room."""
        super().murder_keepalived(force)
        now = time.monotonic()
        if now >= self._next_look or force:
            self._next_look = now + LOOKED_AT
            for conn in [each for each in self.held if force or each.deadline <= now]:
                self.drop(conn)
        if self.nr_conns >= self.worker_connections:
            self._evict()

    def _evict(self) -> None:
        """Close those that have been idle for longest, and only then those with half a head."""
        idle = (each for each in self.held if each.is_idle)
        for conn in sorted(idle, key=lambda each: (each.in_head, each.deadline))[:EVICTED]:
            self.drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.held:
            if conn.is_idle:
                conn.deadline = min(conn.deadline, deadline)
