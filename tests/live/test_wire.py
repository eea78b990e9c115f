"""What only a real connection shows: bodies cut short, framing that lies, clients that stall."""

import hashlib
import http.client
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from tests.support.service import Service

BOUNDARY = "frontier"
FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n".encode()
JSON = b"Content-Type: application/json\r\n"
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()


def head(request: str, *lines: bytes) -> bytes:
    """Return a request's head; `lines` end with CRLF."""
    return f"{request} HTTP/1.1\r\nHost: localhost\r\n".encode() + b"".join(lines) + b"\r\n"


def put(length: int, name: str = "a") -> bytes:
    return head(f"PUT /api/upload/{name}", b"Content-Length: %d\r\n" % length)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(service: Service) -> Iterator[None]:
    """Check after each test that it added no row, no object and no temporary file it kept."""
    rows, kept = service.listing()["total"], len(service.stored())
    yield
    added = service.listing()["total"] - rows
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and len(service.stored()) != kept + added:
        time.sleep(0.05)
    assert len(service.stored()) == kept + added
    assert service.temporary() == []


def refused(service: Service, status: int, code: str, *pieces: bytes) -> None:
    """Check that bytes on a connection are answered with one error and then the end."""
    before = service.listing()["total"]
    (answer,) = service.raw(*pieces)
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert answer.headers["connection"] == "close"
    assert service.listing()["total"] == before


def test_a_body_shorter_than_its_length_is_refused(service: Service) -> None:
    refused(service, 400, "truncated_body", put(10), b"x")
    refused(service, 400, "truncated_body", put(3_000_000), b"x" * 2_999_999)


def test_a_reset_in_the_middle_leaves_nothing(service: Service) -> None:
    before = service.listing()["total"]
    connection = socket.create_connection(("127.0.0.1", service.port))
    connection.sendall(put(1_000_000) + b"x" * 500_000)
    time.sleep(0.2)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    time.sleep(0.2)
    assert service.listing()["total"] == before


def test_chunks_without_the_last_one_are_refused(service: Service) -> None:
    start = head("PUT /api/upload/a", b"Transfer-Encoding: chunked\r\n")
    for body in (b"5\r\nhello\r\n", b"5\r\nhel", b"5\r\nhello\r\n0\r\n", b""):
        refused(service, 400, "truncated_body", start, body)


def test_malformed_chunks_are_refused(service: Service) -> None:
    start = head("PUT /api/upload/a", b"Transfer-Encoding: chunked\r\n")
    for body in (b"zz\r\nhello\r\n", b"5\r\nhelloXX0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n"):
        refused(service, 400, "malformed_body", start, body)


def test_whole_chunks_are_a_file(service: Service) -> None:
    start = head("PUT /api/upload/chunks", b"Transfer-Encoding: chunked\r\nConnection: close\r\n")
    (answer,) = service.raw(start, b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: 1\r\n\r\n")
    assert answer.status == 201
    assert service.request("GET", answer.json()["url"]).body == b"hello world"


def test_a_form_cut_short_is_refused(service: Service) -> None:
    whole = PART + b"content\r\n--" + BOUNDARY.encode() + b"--\r\n"
    length = b"Content-Length: %d\r\n" % len(whole)
    for cut in (1, 10, len(PART) + 3, len(whole) - 5):
        refused(service, 400, "truncated_body", head("POST /api/upload", FORM, length), whole[:cut])


def test_json_cut_short_changes_nothing(service: Service) -> None:
    file = service.request("PUT", "/api/upload/kept.txt", b"text").json()
    lines = JSON + b"Connection: close\r\n"
    change, chunked = b'{"filename": "x"}', lines + b"Transfer-Encoding: chunked\r\n"
    for code, extra, body in (
        ("truncated_body", lines + b"Content-Length: 100\r\n", change),
        ("truncated_body", chunked, b"11\r\n" + change + b"\r\n"),
        ("malformed_body", chunked, b"zz\r\n" + change + b"\r\n0\r\n\r\n"),
    ):
        refused(service, 400, code, head(f"PATCH /api/files/{file['id']}", extra), body)
    assert service.request("GET", f"/api/files/{file['id']}").json() == file


def test_lengths_that_contradict_are_refused_and_the_connection_closed(service: Service) -> None:
    for lines in (
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 1, 1\r\n",
        b"Content-Length: +1\r\n",
        b"Content-Length : 1\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ):
        answers = service.raw(head("PUT /api/upload/a", lines), b"0\r\n\r\n")
        assert [answer.status // 100 for answer in answers] == [4] or answers[0].status == 501, (
            lines
        )
        assert answers[0].headers["connection"] == "close"


def test_what_is_no_request_has_our_error_shape(service: Service) -> None:
    for status, sent in (
        (400, head("get /api/health")),
        (400, head("GET /api/health", b"Bad Header: x\r\n")),
        (414, head("GET /" + "x" * 9000)),
        (431, head("GET /", b"X: " + b"x" * 9000 + b"\r\n")),
        (501, head("PUT /api/upload/a", b"Transfer-Encoding: xchunked\r\n")),
    ):
        (answer,) = service.raw(sent)
        assert (answer.status, set(answer.json())) == (status, {"error", "code"})
        assert answer.headers["content-type"] == "application/json"
        assert "Traceback" not in answer.json()["error"]


def test_a_body_that_stalls_is_given_up(service: Service) -> None:
    for start in (
        put(100) + b"x",
        head("PUT /api/upload/a", b"Transfer-Encoding: chunked\r\n") + b"5\r\nhe",
        head("POST /api/upload", FORM, b"Content-Length: 1000\r\n") + PART + b"x",
        head("POST /api/files/delete", JSON, b"Content-Length: 1000\r\n") + b"{",
    ):
        (answer,) = service.raw(start, half_close=False)
        assert (answer.status, answer.json()["code"]) == (408, "body_timeout")


def test_a_body_too_large_is_refused_before_it_is_read(service: Service) -> None:
    over = 11 * 1024**3
    (answer,) = service.raw(put(over), half_close=False)
    assert (answer.status, answer.json()["code"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("query", ["", "?download=1"])
@pytest.mark.parametrize(
    "line", [b"Content-Length: 99999999999\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_a_body_that_no_download_has_ends_the_connection(
    service: Service, line: bytes, query: str
) -> None:
    url = service.request("PUT", "/api/upload/a.txt", b"text").json()["url"]
    (answer,) = service.raw(head(f"GET {url}{query}", line) + b"5\r\nhello", half_close=False)
    assert (answer.status, answer.body) == (200, b"text")
    assert answer.headers["connection"] == "close"


def test_requests_that_follow_a_body_at_once_are_answered(service: Service) -> None:
    content = bytes(range(256)) * 20_000
    health = head("GET /api/health")
    last = head("GET /api/health", b"Connection: close\r\n")
    stream = put(len(content), "pipe") + content + health + put(3, "more") + b"abc" + last
    answers = service.raw(stream)
    assert [answer.status for answer in answers] == [201, 200, 201, 200]
    assert answers[0].json()["sha256"] == hashlib.sha256(content).hexdigest()
    assert answers[2].json()["size"] == 3


def test_a_connection_serves_many_uploads(service: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    for number in range(5):
        connection.request("PUT", f"/api/upload/{number}", b"x" * 300_000)
        response = connection.getresponse()
        assert (response.status, response.headers["Connection"]) == (201, "keep-alive")
        response.read()
    connection.close()


def test_bytes_arriving_one_by_one_are_one_file(service: Service) -> None:
    content = b"drip, drip, drip"
    pieces = [bytes([byte]) for byte in content]
    close = b"Connection: close\r\n"
    start = head("PUT /api/upload/drip", b"Content-Length: %d\r\n" % len(content), close)
    (answer,) = service.raw(start, *pieces)
    assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()


def test_whoever_expects_100_continue_is_told_to(service: Service) -> None:
    lines = b"Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n"
    answers = service.raw(head("PUT /api/upload/a", lines), b"text")
    assert [answer.status for answer in answers] == [100, 201]
