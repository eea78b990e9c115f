"""What comes off a socket: every byte, in pieces that fit the client, and within its time."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from services.digests import RunningDigests
from views.receiving import FIRST, LARGEST, Piece, WholePieces, is_plain, whole_pieces

Pair = tuple[socket.socket, socket.socket]
CONTENT = os.urandom(5 * LARGEST + 12_345)


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, client = socket.socketpair()
    with ours, client:
        yield ours, client


@contextmanager
def sending(act: Callable[[], object]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


def received(ours: socket.socket, size: int, timeout: float = 20) -> Iterator[Piece]:
    left = size
    with whole_pieces(ours), WholePieces(ours, timeout) as receive:
        while left and (piece := receive(left)):
            left -= len(piece)
            yield piece


def test_a_fast_client_is_read_in_ever_larger_pieces(pair: Pair) -> None:
    ours, client = pair
    with sending(lambda: client.sendall(CONTENT)):
        pieces = [bytes(piece) for piece in received(ours, len(CONTENT))]
    assert b"".join(pieces) == CONTENT
    assert len(pieces[0]) == FIRST
    assert max(map(len, pieces)) == LARGEST


def test_a_slow_client_is_handed_on_as_it_comes_and_has_little_room(pair: Pair) -> None:
    ours, client = pair
    client.sendall(bytes(FIRST))
    pieces = received(ours, 10 * LARGEST)
    assert len(next(pieces)) == FIRST
    for _ in range(2):
        client.sendall(b"slow")
        assert next(pieces) == b"slow"


def test_a_piece_stays_as_it_is_until_the_next_but_one(pair: Pair) -> None:
    ours, client = pair
    client.sendall(b"a" * FIRST)
    pieces = received(ours, 10 * LARGEST)
    whole = next(pieces)
    for sent in (b"b", b"c"):
        client.sendall(sent)
        assert next(pieces) == sent
        assert whole == b"a" * FIRST


def test_what_is_hashed_along_is_what_came(pair: Pair) -> None:
    ours, client = pair
    digests, expected = (RunningDigests.of_file() for _ in range(2))
    expected.update(CONTENT)
    with sending(lambda: client.sendall(CONTENT)):
        for piece in received(ours, len(CONTENT)):
            digests.update(piece)
    assert digests.sha256() == expected.sha256()


def test_a_client_that_says_nothing_is_given_up(pair: Pair) -> None:
    ours, client = pair
    client.sendall(b"x")
    pieces = received(ours, LARGEST, timeout=0.3)
    assert next(pieces) == b"x"
    with pytest.raises(TimeoutError):
        next(pieces)


def test_what_a_client_sent_before_it_left_is_handed_on(pair: Pair) -> None:
    ours, client = pair
    client.sendall(b"x" * FIRST + b"rest")
    client.close()
    assert b"".join(received(ours, LARGEST)) == b"x" * FIRST + b"rest"


@pytest.mark.parametrize("timeout", [None, 3.0])
def test_a_socket_waits_afterwards_as_it_did_before(pair: Pair, timeout: float | None) -> None:
    ours, client = pair
    ours.settimeout(timeout)
    option = (socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    before = ours.getsockopt(*option)
    client.sendall(b"xy")
    reading = received(ours, 2)
    assert next(reading) == b"xy"
    assert ours.getsockopt(*option) != before
    assert next(reading, b"") == b""
    assert (ours.gettimeout(), ours.getsockopt(*option)) == (timeout, before)


def test_only_a_socket_of_the_kernel_takes_flags(pair: Pair) -> None:
    class Layered(socket.socket):
        pass

    ours, _ = pair
    with Layered() as layered:
        assert (is_plain(ours), is_plain(layered)) == (True, False)
