"""Holdall itself as users run it: real gunicorn, a folder of its own, and raw requests to it."""

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.processes import Child, free_ports

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `headers` have lowercase names."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Service:
    """A running service. `data` is its DATA_DIR; `around` may put its command into another."""

    port: int
    data: Path
    variables: dict[str, str]
    log: Path
    child: Child | None = field(default=None)
    around: Callable[[list[str]], list[str]] = field(default=list, kw_only=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, seconds: float = 60) -> None:
        """Start gunicorn and wait until it answers."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        environment = inherited | {
            "AUTH_MODE": "open",
            "DATA_DIR": str(self.data),
            "FLASK_RUN_PORT": str(self.port),
            "DURABILITY": "os",
            "WEB_CONCURRENCY": "2",
            "PYTHONPATH": str(ROOT),
            **self.variables,
        }
        command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")]
        self.child = Child(self.around([*command, "app:app"]), log=self.log, env=environment)
        self.child.wait_until(self._answers, seconds=seconds)

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop(seconds=40)
            self.child = None

    def processes(self) -> list[psutil.Process]:
        """Return the master and its workers."""
        assert self.child is not None
        master = psutil.Process(self.child.pid)
        return [master, *master.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        return self.processes()[1:]

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request with underscores in names of headers for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return _answer(response.status, response.headers.items(), response.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.headers.items(), error.read())

    def raw(self, *pieces: bytes, half_close: bool = True, seconds: float = 20) -> list[Answer]:
        """Send bytes as they are, and return every answer until the service closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            for piece in pieces:
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
        return list(_answers(received))

    def listing(self) -> Any:
        return self.request("GET", "/api/files").json()

    def stored(self) -> list[Path]:
        """Return every file under the uploads, temporary ones too."""
        return [path for path in (self.data / "uploads").rglob("*") if path.is_file()]

    def temporary(self) -> list[Path]:
        """Return what lies in the folder for bytes on their way, figures of the metrics apart."""
        scratch = self.data / "tmp"
        return [p for p in scratch.rglob("*") if p.is_file() and "metrics" not in p.parts]

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/api/health").status == 200
        except OSError:
            return False


@contextmanager
def running(folder: Path, **variables: str) -> Iterator[Service]:
    """Run the service with its data in `folder/data`."""
    (port,) = free_ports(1)
    service = Service(port, folder / "data", variables, folder / "service.log")
    try:
        service.start()
        yield service
    finally:
        service.stop()


def _answer(status: int, headers: Any, body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers}, body)


def _answers(received: bytes) -> Iterator[Answer]:
    """Split what came on one connection into answers, by their Content-Length."""
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = dict(line.split(": ", 1) for line in lines[1:])
        lower = {name.lower(): value for name, value in headers.items()}
        length = int(lower.get("content-length", 0)) if status >= 200 else 0
        yield Answer(status, lower, rest[:length])
        received = rest[length:]
