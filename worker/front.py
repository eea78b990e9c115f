"""An event loop before the threads: it holds every connection that no thread has to.

    new, idle, half a head ──▸ read ──▸ answered at once? ──▸ send, as fast as the client reads
                                 ├──▸ a small form, whole: one thread for all that come ──▸ send
                                 └──▸ all else: a thread, with every byte that has come

A connection is in the loop or with a thread, never with both. What the application answers at once
(`at_once`, which never waits) is sent from here, so that slow and idle clients cost a descriptor
and no thread. What is not read as a plain head (`worker.heads`), or not answered, goes to gunicorn
as if the loop had not been there.
"""

import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from math import inf
from typing import Any, Final

from gunicorn import SERVER, util

from worker import forms
from worker.forms import Form, read_form
from worker.heads import END, MOST, PREFIXES, read_head
from worker.holding import Connection, HoldingWorker
from worker.polling import READ, WRITE
from worker.sending import NotInMemory, Ready, Sending
from worker.threads import HEAD_WITHIN, LINGER, MOST_DRAINED, READ_WITHIN, limit_waits
from worker.together import Together

RECEIVED: Final = 16 * 1024
"""Bytes that are read of a connection at a time."""

READERS: Final = 4
"""Threads that bring into memory what the loop would have to wait for."""

IN_A_ROW: Final = 16
"""Requests that a client has sent at once that are answered before others have their turn."""


class Worker(HoldingWorker):
    """A threaded worker behind a loop that answers what it can and holds who waits."""

    def init_process(self) -> None:
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="read-ahead")
        self._at_once: Any = None
        self._together: Together[Connection] | None = None
        super().init_process()

    def run(self) -> None:
        super().run()
        self._readers.shutdown(wait=False, cancel_futures=True)
        if self._together is not None:
            self._together.close()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._at_once = getattr(self.application, "at_once", None)
        answer = getattr(self.application, "together", None)
        defer = self.method_queue.defer
        self._together = Together(answer, defer, self._answered) if answer else None

    def begin_turn(self) -> None:
        if self._at_once is not None:
            self._at_once.begin_turn()

    def end_turn(self) -> None:
        if self._at_once is not None:
            self._at_once.end_turn()
        if self._together is not None:
            self._together.start()

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
        self.held.add(conn)
        if future.result() is not True:
            self.drop(conn)
            return
        conn.early = conn.parser.unreader.take_buffered()
        conn.sock.setblocking(False)
        self.guarded(self._resume, conn)

    def advance(self, conn: Connection) -> None:
        """Do what a connection is ready for."""
        if conn.sending is not None:
            if self._send(conn):
                self._proceed(conn)
            return
        try:
            received = conn.sock.recv(RECEIVED)
        except BlockingIOError:
            self.wait(conn, READ)
            return
        if not received:
            self.drop(conn)
        elif conn.drained is not None:
            self._drain(conn, len(received))
        else:
            conn.early += received
            self._proceed(conn)

    def _resume(self, conn: Connection) -> None:
        """Go on with what may have come after the turn began."""
        self.begin_turn()
        self._proceed(conn)

    def _proceed(self, conn: Connection) -> None:
        """Answer what has come, or give it to a thread, or wait for more of it."""
        for number in range(IN_A_ROW):
            if not conn.early:
                self.wait(conn, READ, self._idle_for())
                return
            if number:
                # What follows may have come after the turn began.
                self.begin_turn()
            head, end, rest = conn.early.partition(END)
            if not end and len(head) < MOST and not _has_bare_line_feed(head):
                self.wait(conn, READ, None if conn.in_head else HEAD_WITHIN)
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
        self.wait(conn, 0, inf)
        self.method_queue.defer(self.guarded, self._resume, conn)

    def _answer(self, conn: Connection, head: bytes) -> bool:
        """Begin the answer to a request, or say that it is another's."""
        if self._at_once is None or not head.startswith(PREFIXES):
            return False
        asked = read_head(head)
        if asked is None:
            return False
        answer: Ready | None = None
        try:
            told = (asked.method, asked.path, asked.query, asked.headers, conn.client)
            answer = self._at_once.answer(*told)
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
        self.wait(conn, 0, inf)
        self._together.add(conn, form)
        return True

    def _answered(self, conn: Connection, form: Form, outcome: Ready | Exception | None) -> None:
        """Send the answer to a form, or let a thread take it, with what went wrong."""
        self.guarded(self._go_on, conn, form, outcome)

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
            self.wait(conn, WRITE, READ_WITHIN)
            return False
        conn.sending = None
        sending.close()
        if not sending.keep_alive:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.drained = 0
            self.wait(conn, READ, LINGER)
        return sending.keep_alive

    def _bring(self, conn: Connection, sending: Sending) -> None:
        """Have a thread wait for the disk, and go on when it has."""
        self.wait(conn, 0, READ_WITHIN)
        brought = self._readers.submit(sending.bring)
        brought.add_done_callback(
            lambda _: self.method_queue.defer(self.guarded, self.advance, conn)
        )

    def _drain(self, conn: Connection, received: int) -> None:
        """Throw away what still comes after the last answer (RFC 9112 §9.6)."""
        conn.drained = (conn.drained or 0) + received
        if conn.drained > MOST_DRAINED:
            self.drop(conn)

    def _hand_over(self, conn: Connection) -> None:
        self.wait(conn, 0, inf)
        self.held.discard(conn)
        self.enqueue_req(conn)

    def _idle_for(self) -> float:
        return self.keepalive if self.alive else LINGER


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
