"""An upload belongs to no process: any instance goes on with it, and one at a time works on it."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import requests

from tests.clients.conftest import Pair, kill
from tests.clients.driving import (
    OFFSET_TYPE,
    check_served,
    content_of,
    create,
    head,
    offset_of,
    patch,
    pieces_of,
    wait_until_read,
)
from tests.support.service import Service

MIB = 1024**2
CONTENT = content_of(7 * MIB + 5)

THROUGH_WITHIN = 2.0
"""Seconds in which a client that comes back is promised to get through."""
NOISE = 2.0
"""Seconds that a busy machine may add."""


def patch_head(path: str, offset: int, length: int) -> bytes:
    """Return the head of a PATCH as it stands on the wire."""
    lines = (
        f"PATCH {path} HTTP/1.1",
        "Host: localhost",
        "Tus-Resumable: 1.0.0",
        f"Upload-Offset: {offset}",
        f"Content-Type: {OFFSET_TYPE}",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


@contextmanager
def stalled(service: Service, path: str, sent: bytes) -> Iterator[socket.socket]:
    """Have a PATCH of the whole content stop after `sent`, its connection open.

    With more than the service reads along with a request's head, it holds the upload by then.
    """
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(patch_head(path, 0, len(CONTENT)) + sent)
        wait_until_read(connection)
        yield connection


def test_one_goes_on_with_what_another_began(pair: Pair) -> None:
    path = create(pair.first, len(CONTENT))
    for number, (offset, piece) in enumerate(pieces_of(CONTENT, 1_000_001)):
        here, there = (pair.first, pair.second)[:: 1 if number % 2 else -1]
        assert offset_of(here, path) == offset
        answer = patch(there, path, offset, piece)
        assert answer.status_code == 204
        assert int(answer.headers["Upload-Offset"]) == offset + len(piece)
    for service in (pair.first, pair.second):
        check_served(service, path, CONTENT)


def test_workers_of_one_instance_take_turns(pair: Pair) -> None:
    path = create(pair.first, len(CONTENT))
    workers = pair.first.workers()
    for number, (offset, piece) in enumerate(pieces_of(CONTENT, 1_500_000)):
        asleep = workers[number % 2]
        asleep.suspend()
        try:
            assert offset_of(pair.first, path) == offset
            assert patch(pair.first, path, offset, piece).status_code == 204
        finally:
            asleep.resume()
    check_served(pair.first, path, CONTENT)


def test_who_comes_back_gets_through_while_the_old_connection_hangs(pair: Pair) -> None:
    path = create(pair.first, len(CONTENT))
    sent = CONTENT[: 5 * MIB + 123]
    with stalled(pair.first, path, sent) as connection:
        began = time.monotonic()
        offset = offset_of(pair.second, path)
        asked = time.monotonic()
        answer = patch(pair.second, path, offset, CONTENT[offset:])
        took = asked - began
        print(f"HEAD got through in {took:.2f} s, PATCH {time.monotonic() - asked:.2f} s later")
        assert offset == len(sent), "every byte that arrived was kept"
        assert answer.status_code == 204
        assert took < THROUGH_WITHIN + NOISE
        assert connection.recv(1000).startswith(b"HTTP/1.1 4"), "the holder answers"
    check_served(pair.second, path, CONTENT)


def test_a_patch_gets_through_without_a_head(pair: Pair) -> None:
    path = create(pair.first, len(CONTENT))
    with stalled(pair.second, path, CONTENT[:100_000]):
        began = time.monotonic()
        answer = patch(pair.first, path, 0, CONTENT)
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (409, "100000")
        assert time.monotonic() - began < THROUGH_WITHIN + NOISE
    assert patch(pair.first, path, 100_000, CONTENT[100_000:]).status_code == 204
    check_served(pair.first, path, CONTENT)


def test_a_client_that_drips_gives_way(pair: Pair) -> None:
    path = create(pair.first, len(CONTENT))
    sent = 100_000
    with stalled(pair.first, path, CONTENT[:sent]) as connection, ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        asking = pool.submit(offset_of, pair.second, path)
        while not asking.done():
            try:
                connection.sendall(CONTENT[sent : sent + 1])
            except OSError:
                time.sleep(0.1)
            sent += 1
            time.sleep(0.02)
            assert time.monotonic() - began < THROUGH_WITHIN + NOISE
        offset = asking.result()
    assert 100_000 <= offset <= sent
    assert patch(pair.second, path, offset, CONTENT[offset:]).status_code == 204
    check_served(pair.first, path, CONTENT)


def test_an_upload_is_ended_while_another_connection_hangs(pair: Pair) -> None:
    path = create(pair.first, len(CONTENT))
    with stalled(pair.first, path, CONTENT[:MIB]):
        began = time.monotonic()
        answer = requests.delete(
            pair.second.url + path, headers={"Tus-Resumable": "1.0.0"}, timeout=30
        )
        assert answer.status_code == 204
        assert time.monotonic() - began < THROUGH_WITHIN + NOISE
    assert head(pair.first, path).status_code in (404, 410)


def test_of_two_patches_at_once_one_counts(pair: Pair) -> None:
    small = content_of(300_000)
    for _ in range(5):
        path = create(pair.first, 2 * len(small))
        with ThreadPoolExecutor(2) as pool:
            running = [
                pool.submit(patch, service, path, 0, small) for service in (pair.first, pair.second)
            ]
            statuses = sorted(each.result().status_code for each in running)
        assert statuses in ([204, 409], [204, 423])
        assert patch(pair.second, path, len(small), small).status_code == 204
        check_served(pair.first, path, small * 2)


def test_the_lock_of_a_killed_process_is_released(pair: Pair) -> None:
    path = create(pair.first, len(CONTENT))
    assert patch(pair.first, path, 0, CONTENT[:MIB]).status_code == 204
    with socket.create_connection(("127.0.0.1", pair.first.port), timeout=20) as connection:
        connection.sendall(patch_head(path, MIB, len(CONTENT) - MIB) + CONTENT[MIB : 2 * MIB])
        wait_until_read(connection)
        kill(pair.first)
    began = time.monotonic()
    offset = offset_of(pair.second, path)
    print(f"HEAD got through {time.monotonic() - began:.2f} s after the holder was killed")
    assert MIB <= offset <= 2 * MIB
    assert patch(pair.second, path, offset, CONTENT[offset:]).status_code == 204
    check_served(pair.second, path, CONTENT)
