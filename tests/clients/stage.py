"""A site that is not the service's: it serves a page, takes calls home, and can pose as a proxy.

With `behind`, whatever it does not know goes to the service as it came, so that its page has the
same origin as the service's answers: what a name that was made to lead to the service (DNS
rebinding) gives a page, and what a hole in one of our own pages would.
"""

import http.client
import json
import queue
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.clients.hostile import Hostile


class Stage(ThreadingHTTPServer):
    """The site's server. `ran` has what called home, `told` what the page says in the end."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, page: bytes, behind: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.page = page
        self.behind = behind
        self.careless: Mapping[str, Hostile] = {}
        self.ran: list[str] = []
        self.told: queue.Queue[Any] = queue.Queue()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away; of all else, speak."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Stage

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        name = url.path.removeprefix("/careless/")
        if url.path == "/":
            self._answer("text/html; charset=utf-8", self.server.page)
        elif url.path == "/ran":
            self.server.ran += parse_qs(url.query).get("by", [])
            self._answer("text/plain", b"")
        elif url.path == "/so-far":
            self._answer("application/json", json.dumps(sorted(set(self.server.ran))).encode())
        elif name in self.server.careless:
            found = self.server.careless[name]
            self._answer(found.careless_type, found.content)
        else:
            self._pass_on()

    def do_POST(self) -> None:
        if self.path == "/told":
            length = int(self.headers["Content-Length"])
            self.server.told.put(json.loads(self.rfile.read(length)))
            self._answer("text/plain", b"")
        else:
            self._pass_on()

    do_PUT = do_DELETE = do_POST

    def _pass_on(self) -> None:
        if self.server.behind is None:
            self.send_error(404)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=20)
        try:
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self.send_response(answer.status)
        for header, value in answer.getheaders():
            if header.lower() not in ("content-length", "connection", "server", "date"):
                self.send_header(header, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _answer(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def staging(page: bytes, behind: int | None = None) -> Iterator[Stage]:
    """Serve a page on a port of its own."""
    with Stage(page, behind) as stage:
        thread = threading.Thread(target=stage.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield stage
        finally:
            stage.shutdown()
            thread.join()
