"""Processes that read images: a few, started when they are needed, ended when they misbehave.

Each is a child of its own, started afresh and not forked, with bounds on its memory, so that a
decoder that crashes, hangs or swells costs one request its thumbnail and nobody anything else.
It knows sockets and processes, and must not know images, storages, or the framework.
"""

import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from services.errors import ImageRefused, ThumbnailsBusy
from services.thumbnails_child import HEADER, READY, UNREADABLE

_ROOT: Final = Path(__file__).resolve().parents[1]
_CHILD: Final = "services.thumbnails_child"
_START_WITHIN: Final = 30.0
_MOST_JOBS: Final = 500
"""After as many a process is replaced, so that what a library loses does not add up."""
_MOST_WAITING: Final = 64
_LARGEST: Final = 64 * 1024 * 1024
"""Bytes of an answer; a thumbnail has far fewer."""
TOO_LONG: Final = "The image takes longer to read than thumbnails may"

log = logging.getLogger("holdall.thumbnails")


class Pool:
    """Do jobs in at most `processes` children at a time.

    `seconds` is what one job may take, `memory` the bytes that a child may have.
    """

    def __init__(self, *, processes: int, seconds: float, memory: int) -> None:
        self._seconds = seconds
        self._memory = memory
        self._turns = threading.Semaphore(processes)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._waiting = 0
        self._closed = False

    def do(self, job: dict[str, Any], source: BinaryIO) -> tuple[dict[str, Any], bytes]:
        """Have a child do a job on the open file `source`, and return what it says and made.

        Raises ThumbnailsBusy when too many wait, and ImageRefused.
        """
        with self._turn():
            child = self._take()
            try:
                said, made = child.do({**job, "seconds": self._seconds}, source, self._seconds)
            except (OSError, EOFError) as error:
                child.end()
                raise _refusal(error, child) from error
            except BaseException:
                child.end()
                raise
            self._give_back(child)
        if "refused" in said:
            log.info("an image was refused", extra={"reason": said.get("reason", said["refused"])})
            raise ImageRefused(said["refused"])
        return said, made

    def processes(self) -> list[int]:
        """Return the ids of the children that are not at work."""
        with self._lock:
            return [child.pid for child in self._idle]

    def close(self) -> None:
        """End all children; those at work end with their job."""
        with self._lock:
            self._closed = True
            children, self._idle = self._idle, []
        for child in children:
            child.end()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._lock:
            if self._waiting >= _MOST_WAITING:
                raise ThumbnailsBusy
            self._waiting += 1
        try:
            taken = self._turns.acquire(timeout=self._seconds)
        finally:
            with self._lock:
                self._waiting -= 1
        if not taken:
            raise ThumbnailsBusy
        try:
            yield
        finally:
            self._turns.release()

    def _take(self) -> "_Child":
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.is_alive():
                    return child
                child.end()
        return _Child(self._memory)

    def _give_back(self, child: "_Child") -> None:
        with self._lock:
            if not self._closed and child.jobs < _MOST_JOBS:
                self._idle.append(child)
                return
        child.end()


class _Child:
    """One process, and our end of its socket. One thread at a time uses it."""

    def __init__(self, memory: int) -> None:
        self.jobs = 0
        self._socket, theirs = socket.socketpair()
        with theirs:
            number = str(theirs.fileno())
            # It gets nothing of our environment, where secrets are, and none of our files. One
            # arena: the address space of more would count as memory.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-B", "-m", _CHILD, number, str(memory)],
                env={"PYTHONPATH": str(_ROOT), "MALLOC_ARENA_MAX": "1"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            self._require_ready()
        except BaseException:
            self.end()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The status that it ended with, a signal's number below 0; None while it runs."""
        return self._process.returncode

    def is_alive(self) -> bool:
        """Say whether it still runs."""
        return self._process.poll() is None

    def do(
        self, job: dict[str, Any], source: BinaryIO, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """Send a job and read its answer. Raises TimeoutError, and EOFError or OSError for a child
        that has ended.
        """
        self.jobs += 1
        until = time.monotonic() + seconds
        socket.send_fds(self._socket, [json.dumps(job).encode()], [source.fileno()])
        told, made = HEADER.unpack(self._read(HEADER.size, until))
        if told + made > _LARGEST:
            raise EOFError
        said = json.loads(self._read(told, until))
        return said, self._read(made, until)

    def end(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _require_ready(self) -> None:
        try:
            self._read(len(READY), time.monotonic() + _START_WITHIN)
        except (OSError, EOFError) as error:
            self.end()
            log.error("no process for thumbnails started", extra={"status": self.status})
            raise ThumbnailsBusy from error

    def _read(self, size: int, until: float) -> bytes:
        """Return `size` bytes. Raises TimeoutError and EOFError."""
        pieces = bytearray()
        while len(pieces) < size:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            piece = self._socket.recv(min(size - len(pieces), 1024 * 1024))
            if not piece:
                raise EOFError
            pieces += piece
        return bytes(pieces)


def _refusal(error: Exception, child: _Child) -> ImageRefused:
    """Say what the end of a child in the middle of a job means for the client."""
    if isinstance(error, TimeoutError):
        log.warning("reading an image took too long")
        return ImageRefused(TOO_LONG)
    log.warning("reading an image ended its process", extra={"status": child.status})
    return ImageRefused(UNREADABLE)
