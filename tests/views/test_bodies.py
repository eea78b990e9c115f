"""Bodies on their way to the server: exactly the planned bytes, and closed whatever happens."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from gunicorn.http.wsgi import FileWrapper

from services.delivery import Plan
from services.ranges import ByteRange, Piece, total_length
from storage.base import CHUNK_SIZE, Body, Storage
from storage.errors import IntegrityError, ObjectNotFound, StorageUnavailable
from storage.keys import new_key
from storage.local import LocalStorage
from storage.memory import MemoryStorage
from views.bodies import respond

CONTENT = os.urandom(2 * CHUNK_SIZE + 17)
SIZE = len(CONTENT)
HEADERS = (("X-Planned", "yes"),)
SEVERAL = (b"--b\r\n", ByteRange(5, 9), b"\r\n--b\r\n", ByteRange(300_000, SIZE), b"\r\n--b--\r\n")


class WatchedStorage:
    """Passes everything on to a real storage, and remembers which bodies it opened."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.opened: list[WatchedBody] = []

    def open(self, key: str, start: int = 0, stop: int | None = None) -> "WatchedBody":
        self.opened.append(WatchedBody(self._storage.open(key, start, stop)))
        return self.opened[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


class WatchedBody:
    """A body that says whether it is open, and breaks off after `good` pieces."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.closed = False
        self.good = 1000

    def __iter__(self) -> Iterator[bytes]:
        for place, piece in enumerate(self._body):
            if place == self.good:
                raise StorageUnavailable("broken off")
            yield piece

    def close(self) -> None:
        self.closed = True
        self._body.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = LocalStorage(tmp_path, durable=False) if request.param == "local" else MemoryStorage()
    yield WatchedStorage(made)
    made.close()


@pytest.fixture
def key(storage: Any) -> str:
    key = new_key()
    with storage.create(key) as writer:
        writer.write(CONTENT)
        writer.commit()
    return key


def planned(*pieces: Piece, status: int = 200) -> Plan:
    length = total_length(pieces)
    return Plan(status, (*HEADERS, ("Content-Length", str(length))), pieces, length)


def expected(*pieces: Piece) -> bytes:
    return b"".join(
        piece if isinstance(piece, bytes) else CONTENT[piece.start : piece.stop] for piece in pieces
    )


class Answer:
    """What a server gets from the application: it iterates, and closes in the end."""

    def __init__(self, response: flask.Response, environ: dict[str, Any]) -> None:
        body, self.status, self.headers = response.get_wsgi_response(environ)
        self.body: Any = body

    def close(self) -> None:
        self.body.close()

    def read(self) -> bytes:
        try:
            return b"".join(self.body)
        finally:
            self.close()


def answer(storage: Any, key: str, plan: Plan, **environ: Any) -> Answer:
    with flask.Flask(__name__).test_request_context(environ_overrides=environ) as context:
        return Answer(respond(plan, storage, key, SIZE), context.request.environ)


RANGES = [ByteRange(0, SIZE), ByteRange(0, 1), ByteRange(SIZE - 1, SIZE), ByteRange(3, 400_000)]


@pytest.mark.parametrize("pieces", [*((one,) for one in RANGES), SEVERAL, (b"{}\n",), ()])
@pytest.mark.parametrize("environ", [{}, {"wsgi.file_wrapper": FileWrapper}])
def test_the_body_is_the_planned_bytes_and_everything_is_closed(
    storage: Any, key: str, pieces: tuple[Piece, ...], environ: dict[str, Any]
) -> None:
    got = answer(storage, key, planned(*pieces), **environ)
    assert got.read() == expected(*pieces)
    assert all(body.closed for body in storage.opened)


@pytest.mark.parametrize("status", [200, 204, 206, 304, 412, 416])
def test_the_headers_are_the_planned_ones_and_no_others(
    storage: Any, key: str, status: int
) -> None:
    got = answer(storage, key, Plan(status, HEADERS))
    assert got.headers == list(HEADERS)
    assert got.status.startswith(str(status))
    got.close()


@pytest.mark.parametrize("environ", [{}, {"wsgi.file_wrapper": FileWrapper}])
def test_a_client_that_leaves_before_the_first_byte_leaves_nothing_open(
    storage: Any, key: str, environ: dict[str, Any]
) -> None:
    for pieces in ((ByteRange(0, SIZE),), SEVERAL):
        answer(storage, key, planned(*pieces), **environ).close()
    assert len(storage.opened) == 2 and all(body.closed for body in storage.opened)


def test_a_client_that_leaves_in_the_middle_leaves_nothing_open(storage: Any, key: str) -> None:
    for pieces in ((ByteRange(0, SIZE),), SEVERAL):
        got = answer(storage, key, planned(*pieces))
        iterator = iter(got.body)
        assert next(iterator) and next(iterator)
        got.close()
    assert all(body.closed for body in storage.opened)


def test_several_ranges_are_opened_one_at_a_time(storage: Any, key: str) -> None:
    got = answer(storage, key, planned(*SEVERAL))
    assert len(storage.opened) == 1
    for _ in got.body:
        assert sum(not body.closed for body in storage.opened) <= 1
    assert len(storage.opened) == 2
    got.close()


def test_a_missing_object_is_found_missing_before_the_answer_begins(storage: Any) -> None:
    for pieces in ((ByteRange(0, SIZE),), SEVERAL):
        with pytest.raises(ObjectNotFound):
            answer(storage, new_key(), planned(*pieces))


def test_an_object_of_another_size_than_its_row_says_is_never_sent(storage: Any, key: str) -> None:
    with storage.create(key) as writer:
        writer.write(CONTENT[:-1])
        writer.commit()
    for piece in (ByteRange(0, SIZE), ByteRange(0, 10)):
        with pytest.raises(IntegrityError):
            answer(storage, key, planned(piece))
    assert all(body.closed for body in storage.opened)


def test_a_store_that_breaks_off_breaks_the_answer(storage: Any, key: str) -> None:
    for pieces in ((ByteRange(0, SIZE),), SEVERAL):
        got = answer(storage, key, planned(*pieces))
        storage.opened[-1].good = 0
        with pytest.raises(StorageUnavailable):
            got.read()
    assert all(body.closed for body in storage.opened)


class TestPlainFile:
    """What `wsgi.file_wrapper` gets of a local file."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[Any]:
        made = LocalStorage(tmp_path, durable=False)
        yield WatchedStorage(made)
        made.close()

    def wrapper(self, storage: Any, key: str, piece: ByteRange) -> Any:
        got = answer(storage, key, planned(piece), **{"wsgi.file_wrapper": FileWrapper})
        assert isinstance(got.body, FileWrapper)
        return got.body

    @pytest.mark.parametrize("piece", RANGES)
    def test_its_descriptor_stands_at_the_first_byte(
        self, storage: Any, key: str, piece: ByteRange
    ) -> None:
        wrapper = self.wrapper(storage, key, piece)
        fileno = wrapper.filelike.fileno()
        assert os.lseek(fileno, 0, os.SEEK_CUR) == piece.start
        assert os.read(fileno, 1) == CONTENT[piece.start : piece.start + 1]
        wrapper.close()
        assert storage.opened[0].closed

    @pytest.mark.parametrize("size", [1, 7, CHUNK_SIZE, -1])
    def test_reading_it_ends_at_the_last_byte(self, storage: Any, key: str, size: int) -> None:
        wrapper = self.wrapper(storage, key, ByteRange(10, 30))
        window = wrapper.filelike
        assert b"".join(iter(lambda: window.read(size), b"")) == CONTENT[10:30]
        assert window.seek(25) == 25
        assert window.read() == CONTENT[25:30]
        wrapper.close()

    def test_a_file_cut_short_meanwhile_breaks_the_answer(
        self, storage: Any, key: str, tmp_path: Path
    ) -> None:
        wrapper = self.wrapper(storage, key, ByteRange(0, SIZE))
        os.truncate(tmp_path / key, 5)
        assert wrapper.filelike.read(10) == CONTENT[:5]
        with pytest.raises(IntegrityError):
            wrapper.filelike.read(10)
        wrapper.close()
