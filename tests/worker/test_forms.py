"""The loop reads no form that gunicorn reads otherwise, or refuses."""

import socket

import pytest
from gunicorn.http import get_parser

from tests.worker.test_heads import CONFIG, HOST
from worker.forms import PREFIX, Form, read_form
from worker.heads import MOST

CLIENT = ("127.0.0.1", 1)
TYPE = b"Content-Type: multipart/form-data; boundary=b\r\n"
LENGTH = b"Content-Length: 5\r\n"
NEXT = b"GET / HTTP/1.1\r\n"


def form(*lines: bytes, body: bytes = b"abcde", host: bytes = HOST) -> bytes:
    return PREFIX + host + b"".join(lines) + b"\r\n" + body


def by_gunicorn(data: bytes) -> Form:
    """Read a request as gunicorn does, and see that it leaves what is behind it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        asked = next(get_parser(CONFIG, theirs, CLIENT))
        body = asked.body.read()
        rest = asked.unreader.take_buffered()
        headers = {name.lower(): value for name, value in asked.headers}
        assert (asked.method, asked.path, asked.query) == ("POST", "/api/upload", "")
        assert len(headers) == len(asked.headers)
        return Form(headers, body, CLIENT, not asked.should_close(), len(data) - len(rest))


@pytest.mark.parametrize(
    "data",
    (
        form(TYPE, LENGTH),
        form(TYPE, LENGTH, body=b"abcde" + NEXT),
        form(TYPE, LENGTH, b"Connection: close\r\n"),
        form(LENGTH.upper(), b"X:\t \xe9 \r\n"),
        form(TYPE, b"Content-Length:   5 \t\r\n", b"Connection: Keep-Alive\r\n"),
    ),
)
def test_a_plain_form_is_read_as_gunicorn_reads_it(data: bytes) -> None:
    assert read_form(data, CLIENT) == by_gunicorn(data)


@pytest.mark.parametrize(
    "data",
    (
        form(TYPE),
        form(TYPE, LENGTH, body=b"abcd"),
        form(TYPE, LENGTH, LENGTH),
        form(TYPE, LENGTH, b"Content-length: 6\r\n"),
        form(TYPE, LENGTH, b"Transfer-Encoding: chunked\r\n"),
        form(TYPE, LENGTH, b"Transfer-Encoding : chunked\r\n"),
        form(TYPE, LENGTH, b"Transfer_Encoding: chunked\r\n"),
        form(TYPE, LENGTH, b" folded\r\n"),
        form(TYPE, LENGTH, b"X: a\nY: b\r\n"),
        form(TYPE, LENGTH, b"X: \0\r\n"),
        form(TYPE, LENGTH, b"Expect: 100-continue\r\n"),
        form(TYPE, LENGTH, b"Content-Encoding: gzip\r\n"),
        form(TYPE, LENGTH, b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n"),
        form(TYPE, LENGTH, host=b""),
        form(TYPE, LENGTH, HOST),
        form(TYPE, b"X: " + b"a" * MOST + b"\r\n", LENGTH),
        *(form(TYPE, b"Content-Length: " + each + b"\r\n") for each in (b"", b"+5", b"05", b"0x5")),
        *(form(TYPE, b"Content-Length: " + each + b"\r\n") for each in (b"5,5", b"5 5", b"\xb2")),
        form(TYPE, b"Content-Length: 100000\r\n", body=bytes(100_000)),
        PREFIX + HOST + TYPE + LENGTH,
    ),
)
def test_any_other_is_left_to_gunicorn(data: bytes) -> None:
    assert read_form(data, CLIENT) is None
