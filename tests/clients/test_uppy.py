"""Uppy in a real browser, on a page of another origin, uploads through the service's CORS rules."""

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import pytest

from tests.clients.driving import HERE, check_served, content_of
from tests.support.service import Service, running

MIB = 1024**2
CONTENT = content_of(5 * MIB + 9)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class Page(ThreadingHTTPServer):
    """The server of the page: its files, the content to upload, and what the page tells."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _PageHandler)
        self.told: queue.Queue[Any] = queue.Queue()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _PageHandler(BaseHTTPRequestHandler):
    server: Page
    files: ClassVar = {
        "/": ("text/html", HERE / "page.html"),
        "/uppy.min.mjs": (
            "text/javascript",
            HERE / "node_modules" / "uppy" / "dist" / "uppy.min.mjs",
        ),
    }

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/content":
            self._answer("application/octet-stream", CONTENT)
        elif path in self.files:
            content_type, file = self.files[path]
            self._answer(content_type, file.read_bytes())
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.told.put(json.loads(self.rfile.read(length)))
        self._answer("text/plain", b"")

    def _answer(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def page() -> Iterator[Page]:
    """A page on a port of its own, which makes its origin another one than the service's."""
    with Page() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browsing(url: str, profile: Path) -> Iterator[None]:
    """Have a browser without a window show a page."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        raise FileNotFoundError("no Chromium: on Debian and Ubuntu, apt-get install chromium")
    command = [found[0], *OPTIONS, f"--user-data-dir={profile}", "--remote-debugging-port=0", url]
    with (profile.with_suffix(".log")).open("wb") as log:
        browser = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield
        finally:
            browser.terminate()
            browser.wait(20)


def upload(service: Service, page: Page, profile: Path) -> Any:
    asked = {"endpoint": f"{service.url}/api/tus", "chunk": 2 * MIB, "name": "Grüße 🎉.png"}
    with browsing(f"{page.origin}/?{urlencode(asked)}", profile):
        return page.told.get(timeout=60)


def test_a_file_dropped_on_a_page_elsewhere_is_uploaded(page: Page, tmp_path: Path) -> None:
    with running(tmp_path, CORS_ORIGINS=page.origin) as service:
        told = upload(service, page, tmp_path / "profile")
        assert told.get("failed") == [], told
        (url,) = told["urls"]
        file = check_served(service, url, CONTENT)
        assert (file["filename"], file["declared_type"]) == ("Grüße 🎉.png", "image/png")


def test_a_page_that_is_not_listed_uploads_nothing(page: Page, tmp_path: Path) -> None:
    with running(tmp_path, CORS_ORIGINS="http://elsewhere.example") as service:
        thread = threading.Timer
        told = upload(service, page, tmp_path / "profile")
        assert not told.get("urls")
        assert service.listing()["total"] == 0
