"""An event loop before the threads: it holds every connection that no thread has to.

    new, idle, half a head ──▸ read ──▸ answered at once? ──▸ send, as fast as the client reads
                                 ├──▸ a small form, whole: one thread for all that come ──▸ send
                                 └──▸ all else: a thread, with every byte that has come

A connection is in the loop or with a thread, never with both. What the application answers at once
(`at_once`, which never waits) is sent from here, so that slow and idle clients cost a descriptor
and no thread. What is not read as a plain head (`worker.heads`), or not answered, goes to gunicorn
as if the loop had not been there.
"""

import errno
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from math import inf
from typing import Any, Final

from gunicorn import SERVER, util
from gunicorn.workers.gthread import TConn

from worker import forms
from worker.forms import Form, read_form
from worker.heads import END, MOST, PREFIXES, read_head
from worker.polling import READ, WRITE, Poller
from worker.sending import NotInMemory, Ready, Sending
from worker.sharing import LEFT_FOR, Board
from worker.threads import (
    HEAD_WITHIN,
    LINGER,
    MOST_DRAINED,
    READ_WITHIN,
    ThreadedWorker,
    limit_waits,
)
from worker.together import Together

RECEIVED: Final = 16 * 1024
"""Bytes that are read of a connection at a time."""

READERS: Final = 4
"""Threads that bring into memory what the loop would have to wait for."""

LOOKED_AT: Final = 1.0
"""Seconds between two looks for connections whose time is over."""

IN_A_ROW: Final = 16
"""Requests that a client has sent at once that are answered before others have their turn."""

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


class Worker(ThreadedWorker):
    """A threaded worker behind a loop that answers what it can and holds who waits."""

    alive: bool

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.seat = BOARD.seat()

    def init_process(self) -> None:
        self._held: set[Connection] = set()
        self._now = self._next_look = self._accepts_at = time.monotonic()
        self._keepalive = float(self.cfg.keepalive)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="read-ahead")
        self._at_once: Callable[..., Ready | None] = lambda *_: None
        self._begin_turn: Callable[[], None] = lambda: None
        self._end_turn: Callable[[], None] = lambda: None
        super().init_process()

    def run(self) -> None:
        self.poller.close()
        self.poller: Poller = Poller()
        # Threads that outlive the loop still write there: it must not become another file's number.
        self.method_queue.close = lambda: None
        super().run()
        self._readers.shutdown(wait=False, cancel_futures=True)
        if self._together is not None:
            self._together.close()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what all that is ready is ready for; the time is read once for all of it."""
        if self.alive:
            self.seat.tell(self.nr_conns)
        else:
            self.seat.close()
        ready = self.poller.wait(min(timeout, max(self._accepts_at - self._now, 0) or timeout))
        self._now = time.monotonic()
        self._begin_turn()
        try:
            for fd in ready:
                self.poller.serve(fd)
        finally:
            self._end_turn()
        if self._together is not None:
            self._together.start()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        at_once = getattr(self.application, "at_once", None)
        if at_once is not None:
            self._at_once = at_once.answer
            self._begin_turn = at_once.begin_turn
            self._end_turn = at_once.end_turn
        answer = getattr(self.application, "together", None)
        defer = self.method_queue.defer
        self._together = Together(answer, defer, self._answered) if answer else None

    def accept(self, listener: Any) -> None:
        self.takes(listener)

    def takes(self, listener: Any) -> bool:
        """Take the next client in line, and say whether there was one."""
        if self.alive and not self.seat.takes(self.nr_conns, self._now):
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
        conn.deadline = self._now + self._keepalive
        self._held.add(conn)
        # Its request may have come after the turn began.
        self._begin_turn()
        self._on_event(conn)
        return True

    def _pause(self, seconds: float) -> None:
        """Take nobody for a moment."""
        self._accepts_at = time.monotonic() + seconds
        self.set_accept_enabled(False)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and time.monotonic() >= self._accepts_at)

    def handle(self, conn: Any) -> Any:
        if isinstance(conn, Connection):
            if not conn.initialized:
                limit_waits(conn.sock)
            if conn.early:
                conn.unread()
            if conn.failed is not None:
                self.failed[conn.sock], conn.failed = conn.failed, None
        try:
            return super().handle(conn)
        finally:
            self.failed.pop(conn.sock, None)

    def finish_request(self, conn: Any, future: Future[Any]) -> None:
        """Take a connection back from its thread, if another request may follow."""
        if not isinstance(conn, Connection) or future.cancelled() or future.exception() is not None:
            super().finish_request(conn, future)
            return
        self._held.add(conn)
        if future.result() is not True:
            self._drop(conn)
            return
        conn.early = conn.parser.unreader.take_buffered()
        conn.sock.setblocking(False)
        self._guarded(self._resume, conn)

    def _on_event(self, conn: Connection) -> None:
        self._guarded(self._advance, conn)

    def _guarded(self, step: Any, conn: Connection, *more: Any) -> None:
        """Take a step with a connection that the loop has; it is gone if the client is."""
        if conn not in self._held:
            return
        try:
            step(conn, *more)
        except OSError as error:
            if error.errno == errno.EIO:
                self.log.error("an answer was cut short: %s", error.strerror)
            self._drop(conn)
        except Exception:
            self.log.exception("a connection is given up")
            self._drop(conn)

    def _advance(self, conn: Connection) -> None:
        """Do what a connection is ready for."""
        if conn.sending is not None:
            if self._send(conn):
                self._proceed(conn)
            return
        try:
            received = conn.sock.recv(RECEIVED)
        except BlockingIOError:
            self._wait(conn, READ)
            return
        if not received:
            self._drop(conn)
        elif conn.drained is not None:
            self._drain(conn, len(received))
        else:
            conn.early += received
            self._proceed(conn)

    def _resume(self, conn: Connection) -> None:
        """Go on with what may have come after the turn began."""
        self._begin_turn()
        self._proceed(conn)

    def _proceed(self, conn: Connection) -> None:
        """Answer what has come, or give it to a thread, or wait for more of it."""
        for number in range(IN_A_ROW):
            if not conn.early:
                self._wait(conn, READ, self._idle_for())
                return
            if number:
                # What follows may have come after the turn began.
                self._begin_turn()
            head, end, rest = conn.early.partition(END)
            if not end and len(head) < MOST and not _has_bare_line_feed(head):
                self._wait(conn, READ, None if conn.in_head else HEAD_WITHIN)
                conn.in_head = True
                return
            conn.in_head = False
            if self._joins(conn):
                return
            if not self._answer(conn, head + end):
                self._hand_over(conn)
                return
            conn.early = rest
            if conn.sending is not None and not self._send(conn):
                return
        # No more is read of a client that has sent more than its turn.
        self._wait(conn, 0, inf)
        self.method_queue.defer(self._guarded, self._resume, conn)

    def _answer(self, conn: Connection, head: bytes) -> bool:
        """Begin the answer to a request, or say that it is another's."""
        if not head.startswith(PREFIXES):
            return False
        asked = read_head(head)
        if asked is None:
            return False
        answer: Ready | None = None
        try:
            told = (asked.method, asked.path, asked.query, asked.headers, conn.client)
            answer = self._at_once(*told)
            if answer is None:
                return False
            keep_alive = asked.keep_alive and self._counts()
            begin = head_of(answer, keep_alive) + answer.content
        except Exception:
            # The application has an answer for what fails.
            self.log.exception("a request is answered in another way")
            if answer is not None and answer.body is not None:
                answer.body.close()
            return False
        if answer.body is None and keep_alive:
            begin = begin[_sent_of(begin, conn.sock) :]
        if begin or not keep_alive or answer.body is not None:
            conn.sending = Sending(begin, answer, keep_alive)
        return True

    def _joins(self, conn: Connection) -> bool:
        """Have a small form answered with others, or say that this is none, or not whole."""
        if self._together is None or not conn.early.startswith(forms.PREFIX):
            return False
        form = read_form(conn.early, conn.client)
        if form is None:
            return False
        # What has come is kept, for a thread that may have to take it.
        self._wait(conn, 0, inf)
        self._together.add(conn, form)
        return True

    def _answered(self, conn: Connection, form: Form, outcome: Ready | Exception | None) -> None:
        """Send the answer to a form, or let a thread take it, with what went wrong."""
        self._guarded(self._go_on, conn, form, outcome)

    def _go_on(self, conn: Connection, form: Form, outcome: Ready | Exception | None) -> None:
        if outcome is None or isinstance(outcome, Exception):
            conn.failed = outcome
            self._hand_over(conn)
            return
        keep_alive = form.keep_alive and self._counts()
        conn.early = conn.early[form.size :]
        conn.sending = Sending(head_of(outcome, keep_alive) + outcome.content, outcome, keep_alive)
        if self._send(conn):
            self._resume(conn)

    def _counts(self) -> bool:
        """Count a request, and say whether the worker has not yet had as many as it is to have."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        return self.alive

    def _send(self, conn: Connection) -> bool:
        """Send on, and say whether that was all and another request may be answered.

        If not, wait for what there is to wait for.
        """
        sending = conn.sending
        assert sending is not None
        try:
            whole = sending.send(conn.sock)
        except BlockingIOError:
            whole = False
        except NotInMemory:
            self._bring(conn, sending)
            return False
        if not whole:
            self._wait(conn, WRITE, READ_WITHIN)
            return False
        conn.sending = None
        sending.close()
        if not sending.keep_alive:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.drained = 0
            self._wait(conn, READ, LINGER)
        return sending.keep_alive

    def _bring(self, conn: Connection, sending: Sending) -> None:
        """Have a thread wait for the disk, and go on when it has."""
        self._wait(conn, 0, READ_WITHIN)
        brought = self._readers.submit(sending.bring)
        brought.add_done_callback(
            lambda _: self.method_queue.defer(self._guarded, self._advance, conn)
        )

    def _drain(self, conn: Connection, received: int) -> None:
        """Throw away what still comes after the last answer (RFC 9112 §9.6)."""
        conn.drained = (conn.drained or 0) + received
        if conn.drained > MOST_DRAINED:
            self._drop(conn)

    def _hand_over(self, conn: Connection) -> None:
        self._wait(conn, 0, inf)
        self._held.discard(conn)
        self.enqueue_req(conn)

    def _wait(self, conn: Connection, event: int, seconds: float | None = None) -> None:
        """Have the poller look for `event`, 0 for none, for so many seconds from now."""
        if seconds is not None:
            conn.deadline = self._now + seconds
        if conn.waits_for == event:
            return
        if not conn.waits_for:
            self.poller.watch(conn.sock, event, self._on_event, conn)
        elif not event:
            self.poller.unregister(conn.sock)
        else:
            self.poller.watch_for(conn.sock, event)
        conn.waits_for = event

    def _drop(self, conn: Connection) -> None:
        """Close a connection that the loop has."""
        self._held.discard(conn)
        with suppress(OSError, KeyError, ValueError):
            self._wait(conn, 0)
        if conn.sending is not None:
            conn.sending.close()
        self.nr_conns -= 1
        conn.close()

    def _idle_for(self) -> float:
        return self._keepalive if self.alive else LINGER

    def murder_keepalived(self, force: bool = False) -> None:
        """Close what has waited too long, all if forced, and idle ones where there is no room."""
        super().murder_keepalived(force)
        now = time.monotonic()
        if now >= self._next_look or force:
            self._next_look = now + LOOKED_AT
            for conn in [each for each in self._held if force or each.deadline <= now]:
                self._drop(conn)
        if self.nr_conns >= self.worker_connections:
            self._evict()

    def _evict(self) -> None:
        """Close those that have been idle for longest, and only then those with half a head."""
        idle = (each for each in self._held if each.is_idle)
        for conn in sorted(idle, key=lambda each: (each.in_head, each.deadline))[:EVICTED]:
            self._drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self._held:
            if conn.is_idle:
                conn.deadline = min(conn.deadline, deadline)


def _has_bare_line_feed(head: bytes) -> bool:
    """Say whether a line ends as none may: gunicorn refuses it, and need not wait for the rest."""
    return head.count(b"\n") != head.count(b"\r\n")


def _sent_of(data: bytes, to: socket.socket) -> int:
    """Return how many bytes of what is short a client takes now."""
    try:
        return to.send(data)
    except BlockingIOError:
        return 0


def head_of(answer: Ready, keep_alive: bool) -> bytes:
    """Return an answer's head, as gunicorn writes it."""
    connection = "keep-alive" if keep_alive else "close"
    return (
        f"HTTP/1.1 {answer.status}\r\nServer: {SERVER}\r\nDate: {_date(int(time.time()))}\r\n"
        f"Connection: {connection}\r\n{answer.fields}\r\n"
    ).encode("latin-1")


@lru_cache(1)
def _date(second: int) -> str:
    date: str = util.http_date(second)
    return date
