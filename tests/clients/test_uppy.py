"""Uppy in a real browser, on a page of another origin, uploads through the service's CORS rules."""

import json
import os
import queue
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import pytest

from tests.clients.driving import HERE, check_served, content_of
from tests.clients.gate import Gate
from tests.support.processes import Child
from tests.support.service import Service, running

MIB = 1024**2
CONTENT = content_of(5 * MIB + 9)
NAME = "Grüße 🎉.png"
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


@contextmanager
def serving() -> Iterator[Page]:
    """Serve the page on a port of its own, so that its origin is not the service's."""
    with Page() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """The page of an origin that the service lists."""
    with serving() as page:
        yield page


@pytest.fixture(scope="module")
def listing(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that lists the page's origin."""
    folder = tmp_path_factory.mktemp("uppy")
    with running(folder, CORS_ORIGINS=page.origin, WEB_CONCURRENCY="1") as service:
        yield service


@contextmanager
def browsing(url: str, profile: Path, *options: str) -> Iterator[None]:
    """Have a browser without a window show a page."""
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        raise FileNotFoundError("no Chromium: on Debian and Ubuntu, apt-get install chromium")
    command = [found[0], *OPTIONS, *options, f"--user-data-dir={profile}", url]
    browser = Child(command, log=profile.with_suffix(".log"), env=os.environ)
    try:
        yield
    finally:
        browser.stop(seconds=20)


def upload(endpoint: str, page: Page, profile: Path) -> Any:
    """Have the page upload its content as soon as it is open, and return what it tells."""
    asked = {"endpoint": f"{endpoint}/api/tus", "chunk": 2 * MIB, "name": NAME}
    with browsing(f"{page.origin}/?{urlencode(asked)}", profile):
        return page.told.get(timeout=60)


def test_a_file_dropped_on_a_page_elsewhere_is_uploaded(
    listing: Service, page: Page, tmp_path: Path
) -> None:
    with Gate(listing.port) as gate:
        gate.after(3 * MIB, gate.cut_all)
        told = upload(gate.url, page, tmp_path / "profile")
    assert told.get("failed") == [], told
    (url,) = told["urls"]
    file = check_served(listing, url, CONTENT)
    assert (file["filename"], file["declared_type"]) == (NAME, "image/png")


def test_a_page_that_is_not_listed_uploads_nothing(listing: Service, tmp_path: Path) -> None:
    before = listing.listing()["total"]
    with serving() as elsewhere:
        told = upload(listing.url, elsewhere, tmp_path / "profile")
    assert told["urls"] == [] and len(told["failed"]) == 1
    assert listing.listing()["total"] == before
