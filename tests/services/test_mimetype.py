"""Types by content: the same from every thread, and in bounded time whatever libmagic does."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.mimetype import UNKNOWN, Sniffer

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"
HEADS = {
    PNG: "image/png",
    b"%PDF-1.7\n": "application/pdf",
    b"<!doctype html><p>text": "text/html",
    b"plain text\n": "text/plain",
}

released = threading.Event()


class Stuck:
    """A libmagic that does not answer before it is let go."""

    def from_buffer(self, head: bytes) -> str:
        released.wait(30)
        return "image/png"


class Broken:
    """A libmagic that fails."""

    def from_buffer(self, head: bytes) -> str:
        raise OSError("cannot load magic database")


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    """Leave no thread that hangs."""
    released.clear()
    yield
    released.set()


def test_many_threads_get_the_same_answers() -> None:
    sniffer = Sniffer()
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda head: sniffer.content_type(head, "a"), [*HEADS] * 100))
    assert answers == [*HEADS.values()] * 100


def test_a_libmagic_that_fails_says_nothing_of_the_type() -> None:
    assert Sniffer(Broken).content_type(PNG, "a.png") == UNKNOWN


def test_a_libmagic_that_stalls_holds_nobody_up_for_long() -> None:
    sniffer = Sniffer(Stuck, patience=0.02)
    began = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        answers = set(pool.map(lambda _: sniffer.content_type(PNG, "a.png"), range(256)))
    assert answers == {UNKNOWN}
    assert time.monotonic() - began < 10
    released.set()
    assert Sniffer(Stuck).content_type(PNG, "a.png") == "image/png"


def test_whoever_meets_a_pool_that_was_given_up_gets_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sniffer = Sniffer()
    gone = ThreadPoolExecutor(1)
    gone.shutdown()
    monkeypatch.setattr(sniffer, "_running", lambda: gone)
    assert sniffer.content_type(PNG, "a.png") == UNKNOWN
