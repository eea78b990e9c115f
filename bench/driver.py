"""A closed-loop HTTP/1.1 client in one process: `python -m bench.driver`, a Job as JSON on stdin.

It sends prebuilt requests over keep-alive connections, reads each answer to its end into one
reused buffer, and prints what it counted. It knows no server and measures nothing but time.
"""

import itertools
import json
import selectors
import socket
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

NUMBER = b"000000000000"
"""Where a numbered request carries its number."""
BUFFER = 1024 * 1024
HEAD_LIMIT = 64 * 1024
MOST_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Job:
    """What one process is to do, from `start` until `stop` on the system's monotonic clock.

    `requests` are sent in turn; a `numbered` one has NUMBER replaced by the next number from
    `first` on. An answer whose status is not in `statuses` is a fault.
    """

    port: int
    connections: int
    start: float
    stop: float
    requests: list[bytes]
    statuses: list[int]
    numbered: bool
    first: int


@dataclass(slots=True)
class Count:
    """What was counted: whole answers, their bytes, and the first faults in words."""

    answers: int = 0
    received: int = 0
    faults: list[str] = field(default_factory=list)


class BadAnswer(Exception):
    """The server's answer is not one that the job expects."""


class Connection:
    """One keep-alive connection with one request under way."""

    def __init__(self, job: Job, pieces: Iterator[bytes], buffer: memoryview) -> None:
        self._job = job
        self._pieces = pieces
        self._buffer = buffer
        self._head = b""
        self._left = -1
        self.socket = socket.create_connection(("127.0.0.1", job.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> None:
        """Send the next request whole."""
        self._left = -1
        self.socket.sendall(next(self._pieces))

    def take(self) -> tuple[int, bool]:
        """Read what has arrived; return its size and whether the answer is now complete."""
        size = self.socket.recv_into(self._buffer)
        if not size:
            raise BadAnswer("the server closed the connection")
        if self._left < 0:
            self._read_head(bytes(self._buffer[:size]))
        else:
            self._left -= size
        return size, self._left == 0

    def _read_head(self, arrived: bytes) -> None:
        self._head += arrived
        head, end, body = self._head.partition(b"\r\n\r\n")
        if not end:
            if len(self._head) > HEAD_LIMIT:
                raise BadAnswer("the head does not end")
            return
        self._head = b""
        status = int(head[9:12])
        if status not in self._job.statuses:
            raise BadAnswer(f"status {status}")
        self._left = 0 if status in (204, 304) else _length(head) - len(body)


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    if not found:
        raise BadAnswer("no Content-Length")
    return int(rest.partition(b"\r\n")[0])


def run(job: Job) -> Count:
    """Keep every connection of `job` busy until its time is up."""
    count = Count()
    pieces, buffer = _requests(job), memoryview(bytearray(BUFFER))
    with selectors.DefaultSelector() as selector:
        for _ in range(job.connections):
            _open(job, pieces, buffer, selector)
        time.sleep(max(0.0, job.start - time.monotonic()))
        for key in list(selector.get_map().values()):
            key.data.ask()
        while (now := time.monotonic()) < job.stop and len(count.faults) < MOST_FAULTS:
            for key, _ in selector.select(job.stop - now):
                if not _advance(key.data, count):
                    _close(key.data, selector)
                    _open(job, pieces, buffer, selector).ask()
        for key in list(selector.get_map().values()):
            _close(key.data, selector)
    return count


def _advance(connection: Connection, count: Count) -> bool:
    """Take what has arrived and ask again after a whole answer; False if the connection is lost."""
    try:
        size, complete = connection.take()
        count.received += size
        if complete:
            count.answers += 1
            connection.ask()
    except (BadAnswer, OSError) as fault:
        count.faults.append(str(fault))
        return False
    return True


def _open(
    job: Job, pieces: Iterator[bytes], buffer: memoryview, selector: selectors.BaseSelector
) -> Connection:
    connection = Connection(job, pieces, buffer)
    selector.register(connection.socket, selectors.EVENT_READ, connection)
    return connection


def _close(connection: Connection, selector: selectors.BaseSelector) -> None:
    selector.unregister(connection.socket)
    connection.socket.close()


def _requests(job: Job) -> Iterator[bytes]:
    endless = itertools.cycle(job.requests)
    if not job.numbered:
        return endless
    return (
        request.replace(NUMBER, b"%012d" % number, 1)
        for number, request in zip(itertools.count(job.first), endless, strict=False)
    )


def main() -> None:
    """Do the job that stdin describes."""
    told: dict[str, Any] = json.load(sys.stdin)
    requests = [b64decode(request) for request in told.pop("requests")]
    count = run(Job(requests=requests, **told))
    json.dump({"answers": count.answers, "faults": count.faults}, sys.stdout)


if __name__ == "__main__":
    main()
