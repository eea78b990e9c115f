"""Many clients that send and read a few bytes a second: `python -m bench.slow`, a Job on stdin.

One process holds them all. It says `ready` when they are connected and each reader has its first
bytes, or the server had time enough; goes on until its stdin ends or its time is up, and prints how
many were still connected. It knows no server.
"""

import json
import selectors
import socket
import sys
import time
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

BYTES = 8
"""How many bytes each client sends or reads in a second."""
RECEIVE_BUFFER = 4096
"""Small, so that what a server sends waits with the server and not in our kernel buffers."""
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Job:
    """What is sent first on each connection, how many there are of each kind, and how long."""

    port: int
    upload: bytes
    download: bytes
    uploads: int
    downloads: int
    seconds: float


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    sends: bool

    def trickle(self) -> bool:
        """Send or read a little; say whether the connection still stands."""
        try:
            if self.sends:
                self.socket.send(b"s" * BYTES)
                return not self._is_closed()
            return self.socket.recv(BYTES) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _is_closed(self) -> bool:
        # An answer that comes before the body is through is left unread, and only an end counts.
        with suppress(BlockingIOError):
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        return False


def run(job: Job) -> int:
    """Hold the clients until stdin ends or the time is up; return how many still stand."""
    clients = [client for client in _connect(job) if client is not None]
    try:
        _await_answers(clients)
        print("ready", flush=True)
        deadline = time.monotonic() + job.seconds
        with selectors.DefaultSelector() as selector:
            selector.register(sys.stdin, selectors.EVENT_READ)
            while time.monotonic() < deadline and not selector.select(1.0):
                clients = [client for client in clients if client.trickle() or _close(client)]
        return len(clients)
    finally:
        for client in clients:
            client.socket.close()


def _await_answers(clients: Sequence[_Client]) -> None:
    """Read a little from each reader as soon as it comes, for ANSWER_SECONDS at most."""
    with selectors.DefaultSelector() as selector:
        for client in clients:
            if not client.sends:
                selector.register(client.socket, selectors.EVENT_READ, client)
        deadline = time.monotonic() + ANSWER_SECONDS
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                key.data.trickle()
                selector.unregister(key.fileobj)


def _connect(job: Job) -> list[_Client | None]:
    kinds = [True] * job.uploads + [False] * job.downloads
    return [_open(job, sends) for sends in kinds]


def _open(job: Job, sends: bool) -> _Client | None:
    connection = socket.socket()
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        connection.settimeout(CONNECT_SECONDS)
        connection.connect(("127.0.0.1", job.port))
        connection.sendall(job.upload if sends else job.download)
        connection.setblocking(False)
    except OSError:
        connection.close()
        return None
    return _Client(connection, sends)


def _close(client: _Client) -> bool:
    client.socket.close()
    return False


def main() -> None:
    """Do the job that the first line of stdin describes."""
    told = json.loads(sys.stdin.readline())
    upload, download = b64decode(told.pop("upload")), b64decode(told.pop("download"))
    print(run(Job(upload=upload, download=download, **told)), flush=True)


if __name__ == "__main__":
    main()
