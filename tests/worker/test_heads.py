"""The loop's parser reads nothing that gunicorn's reads otherwise, or refuses."""

import socket
from urllib.parse import unquote_to_bytes

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser
from hypothesis import given
from hypothesis import strategies as st

from worker.heads import MOST, Head, read_head

HOST = b"Host: files.example\r\n"
FILE = "/uploads/" + "a" * 26


def head(target: str = FILE, *lines: bytes, method: str = "GET", host: bytes = HOST) -> bytes:
    return f"{method} {target} HTTP/1.1\r\n".encode() + host + b"".join(lines) + b"\r\n"


def configured() -> Config:
    """Return what `gunicorn.conf.py` sets of how requests are read."""
    config = Config()
    for name, value in {
        "limit_request_line": 8190,
        "limit_request_fields": 100,
        "limit_request_field_size": 8190,
        "header_map": "refuse",
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        "http_parser": "python",
    }.items():
        config.set(name, value)
    return config


CONFIG = configured()


def by_gunicorn(data: bytes) -> Head:
    """Read a request as gunicorn does. Raises what gunicorn raises."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        asked = next(get_parser(CONFIG, theirs, ("127.0.0.1", 1)))
        assert asked.body.read() == b""
        assert asked.fragment == ""
        names = [name.lower() for name, _ in asked.headers]
        assert len(set(names)) == len(names)
        headers = {name.lower(): value for name, value in asked.headers}
        path = unquote_to_bytes(asked.path.encode("latin-1")).decode("latin-1")
        return Head(asked.method, path, asked.query, headers, not asked.should_close())


PLAIN = (
    head(),
    head(method="HEAD"),
    head(FILE + "/name.txt"),
    head(FILE + "/gr%C3%B6%C3%9Fe%2F%00.txt"),
    head(FILE + "//a:b@c!$&'()*+,;=[]|^`{}~\"<>\\"),
    head(FILE, b"Range: bytes=0-1\r\n", b'If-None-Match:   "a", W/"b" \t\r\n'),
    head(FILE + "?w=320&fit=cover?%2F&"),
    head(FILE + "?"),
    head(FILE, b"Connection: close\r\n"),
    head(FILE, b"Connection: Keep-Alive\r\n", b"X:\r\n", b"Y: \xe9\xff\t.\r\n"),
    head(FILE, b"Cookie: a=b; c=d\r\n", b"Authorization: Bearer x\r\n"),
)


@pytest.mark.parametrize("data", PLAIN)
def test_a_plain_head_is_read_as_gunicorn_reads_it(data: bytes) -> None:
    assert read_head(data) == by_gunicorn(data)


NOT_PLAIN = (
    head("/uploads?x"),
    head(FILE + "?a#b"),
    head(FILE + "?\xe9"),
    head(FILE + "#a"),
    head("http://files.example" + FILE),
    head(FILE + "/\xe9"),
    head(FILE, method="get"),
    head(FILE, method="POST"),
    head(FILE, host=b""),
    head(FILE, HOST),
    head(FILE, b"X: 1\r\n", b"x: 2\r\n"),
    head(FILE, b"Content-Length: 0\r\n"),
    head(FILE, b"Content-Length: 5\r\n") + b"hello",
    head(FILE, b"Transfer-Encoding: chunked\r\n"),
    head(FILE, b"Transfer-Encoding: \x0bchunked\r\n"),
    head(FILE, b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
    head(FILE, b"Expect: 100-continue\r\n"),
    head(FILE, b"Upgrade: h2c\r\n", b"Connection: Upgrade\r\n"),
    head(FILE, b"Connection: close, X\r\n"),
    head(FILE, b"Connection: TE\r\n"),
    head(FILE, b"X_Y: 1\r\n"),
    head(FILE, b"X : 1\r\n"),
    head(FILE, b" X: 1\r\n"),
    head(FILE, b"X: 1\r\n folded\r\n"),
    head(FILE, b"X: a\x00b\r\n"),
    head(FILE, b"X: a\rb\r\n"),
    head(FILE, b"X: a\nb\r\n"),
    head(FILE, b"X: a\x7fb\r\n"),
    head(FILE, b": 1\r\n"),
    head(FILE, b"X\r\n"),
    head(FILE, *(b"X%d: 1\r\n" % number for number in range(101))),
    head(FILE, b"X: " + b"x" * MOST + b"\r\n"),
    head(FILE).replace(b"HTTP/1.1", b"HTTP/1.0"),
    head(FILE).replace(b"HTTP/1.1", b"HTTP/2.0"),
    head(FILE).replace(b"\r\n", b"\n"),
    head(FILE).replace(b" HTTP", b"  HTTP"),
    b"\r\n" + head(FILE),
    head(FILE)[:-2],
    b"PRI * HTTP/2.0\r\n\r\n",
    b"",
)


@pytest.mark.parametrize("data", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_gunicorn(data: bytes) -> None:
    assert read_head(data) is None


FIELDS = (
    b"Host: a|host: b|Content-Length: 0|Content-Length: 1|Transfer-Encoding: chunked|X_Y: 1|X:|"
    b"Transfer-Encoding: identity|Expect: 100-continue|Connection: close|Connection: keep-alive|"
    b"Connection: Upgrade|Range: bytes=0-|X: \t y|A b: c|Te: trailers|Script-Name: /uploads"
).split(b"|")
SIGNS = (b" ", b"\t", b":", b"\r", b"\n", b"\x00", b"\x0b", b"\x7f", b"\x80", b"\xff", b"a", b"%2F")
pieces = st.sampled_from((*FIELDS, *SIGNS))


@given(st.lists(st.tuples(pieces, st.sampled_from((b"\r\n", b"\r\n", b"\n", b""))), max_size=8))
def test_whatever_is_read_here_is_read_alike_by_gunicorn(
    lines: list[tuple[bytes, bytes]],
) -> None:
    begin = f"GET {FILE} HTTP/1.1\r\n".encode() + HOST
    data = begin + b"".join(text + end for text, end in lines) + b"\r\n"
    asked = read_head(data)
    if asked is not None:
        assert asked == by_gunicorn(data)
