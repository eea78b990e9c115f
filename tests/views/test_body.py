"""A request's body on a socket, as gunicorn hands it over."""

import os
import socket
from collections.abc import Iterator

import pytest
from flask import Request
from gunicorn.http.body import Body, LengthReader
from gunicorn.http.unreader import SocketUnreader
from werkzeug.test import EnvironBuilder

from services.errors import StalledBody, TruncatedBody
from views.body import RequestBody, close_unless_read

CONTENT = os.urandom(100_000)
WAITS = (socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
Asked = tuple[Request, socket.socket, socket.socket]


@pytest.fixture
def asked() -> Iterator[Asked]:
    """Return a request of CONTENT's length, its socket, and the client's end."""
    ours, client = socket.socketpair()
    with ours, client:
        environ = EnvironBuilder(method="PUT", data=b"").get_environ()
        environ["CONTENT_LENGTH"] = str(len(CONTENT))
        environ["wsgi.input"] = Body(LengthReader(SocketUnreader(ours), len(CONTENT)))
        environ["gunicorn.socket"] = ours
        yield Request(environ), ours, client


def read(asked: Request, timeout: float = 20) -> Iterator[bytes | bytearray]:
    return RequestBody(asked, timeout=timeout).chunks()


def test_a_body_is_read_whole_and_no_further(asked: Asked) -> None:
    request, ours, client = asked
    client.sendall(CONTENT + b"next")
    assert b"".join(map(bytes, read(request))) == CONTENT
    assert ours.recv(10) == b"next"


def test_who_breaks_off_reading_and_holds_on_leaves_the_socket_as_it_was(asked: Asked) -> None:
    request, ours, client = asked
    before = ours.getsockopt(*WAITS)
    client.sendall(CONTENT)
    held = read(request)
    assert next(held)
    assert ours.getsockopt(*WAITS) != before
    close_unless_read(request.environ)
    assert (ours.getsockopt(*WAITS), ours.gettimeout()) == (before, 20)
    assert list(held) == []


def test_a_body_that_ends_early_is_cut_short(asked: Asked) -> None:
    request, _, client = asked
    client.sendall(CONTENT[:-1])
    client.close()
    with pytest.raises(TruncatedBody, match="1 bytes before"):
        list(read(request))


def test_a_body_that_stops_is_given_up(asked: Asked) -> None:
    request, _, client = asked
    client.sendall(CONTENT[:-1])
    with pytest.raises(StalledBody):
        list(read(request, timeout=0.2))
