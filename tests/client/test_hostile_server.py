"""The client against a server that means it ill: what it says is neither obeyed nor believed."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.client.conftest import Client

ID = "a" * 26
ESCAPES = "\x1b]0;owned\x07\x9b2J"
LISTED = {name: ESCAPES for name in ("id", "created_at", "content_type", "filename")} | {"size": 1}
NAMES = {
    "escapes": "filename*=UTF-8''a%1b]0%07%0ab",
    "folders": 'filename="../../../escaped"',
    "longest": f'filename="{"x" * 251}.txt"',
    "first": 'filename="same.txt"',
    "second": 'filename="same.txt"',
}


class _Hostile(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/api/files"):
            page = {"items": [LISTED], "total": 1, "total_exact": True, "next_cursor": None}
            return self._answer(200, page)
        named = self.path.rpartition("/")[2]
        self._send(
            200,
            named.encode(),
            ETag=f'"{named}"',
            Repr_Digest="sha-256=:a:",
            Content_Disposition=f"attachment; {NAMES[named]}",
        )

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer(400, {"error": ESCAPES})

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, {"id": ID, "url": f"http://127.0.0.1/{ESCAPES}"})

    def _answer(self, status: int, document: object) -> None:
        self._send(status, json.dumps(document).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Client]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hostile) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield Client(tmp_path, f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            serving.join()


def link(client: Client, name: str) -> str:
    return f"{client.url}/uploads/{ID}/{name}"


@pytest.mark.parametrize(
    "words", [("ls",), ("ls", "--json"), ("link", ID), ("put", "sent"), ("get", "escapes")]
)
def test_a_terminal_obeys_nothing_that_the_server_says(
    hostile: Client, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "sent").write_text("sent")
    outcome = hostile.run(*(link(hostile, word) if word in NAMES else word for word in words))
    shown = (outcome.out.decode() + outcome.err).replace("\n", "").replace("\t", "")
    assert shown
    assert not [char for char in shown if ord(char) < 32 or 127 <= ord(char) < 160]


def test_the_server_chooses_a_name_and_no_place(hostile: Client, tmp_path: Path) -> None:
    outcome = hostile.run("get", link(hostile, "folders"), link(hostile, "longest"))
    assert outcome.status == 0, outcome
    assert {path.name for path in tmp_path.iterdir()} == {"escaped", f"{'x' * 251}.txt"}


def test_two_files_of_one_name_do_not_replace_each_other(hostile: Client, tmp_path: Path) -> None:
    outcome = hostile.run("get", link(hostile, "first"), link(hostile, "second"))
    assert outcome.status == 1
    assert "is there already" in outcome.err
    [kept] = tmp_path.iterdir()
    [said] = outcome.lines
    assert (said, kept.name) == ("same.txt", "same.txt")
    assert kept.read_text() in ("first", "second")


def test_a_link_that_lies_where_the_part_goes_is_not_followed(
    hostile: Client, tmp_path: Path
) -> None:
    tag = hashlib.sha256(b'"first"').hexdigest()[:12]
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / f".out.{tag}.part").symlink_to(victim)
    outcome = hostile.run("get", link(hostile, "first"), "-o", "out")
    assert outcome.status == 1
    assert "cannot be written" in outcome.err
    assert victim.read_text() == "untouched"
